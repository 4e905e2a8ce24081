"""A model asked every question of a data set: resumable runs, their records, and what can be read from the records."""
