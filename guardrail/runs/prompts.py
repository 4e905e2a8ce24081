"""How questions are put where nobody says."""

DIRECT = "Please directly answer the following question with one or few words:\n{question}"
"""The prompt of arXiv 2605.04638."""

IN_SENTENCES = "Answer in a few short, complete sentences, one fact in each.\n{question}"
"""The prompt for claims: of five that were tried on the embedded model, the one with most claims that facts can judge."""

LONGEST = {"answer": 64, "claim": 160}
"""Longest answer, in tokens, by what one probability is about."""
