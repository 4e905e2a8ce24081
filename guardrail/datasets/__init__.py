"""Questions, facts and paraphrases from files and the hub: read, checked, split, and told apart by digests."""
