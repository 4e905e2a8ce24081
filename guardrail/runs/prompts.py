"""How questions are asked where nothing else is said. Imports nothing, so that a command can name them and start fast."""

DIRECT = "Please directly answer the following question with one or few words:\n{question}"
"""The prompt of arXiv 2605.04638."""

IN_SENTENCES = "Answer in a few short, complete sentences, one fact in each.\n{question}"
"""The prompt for claims: of five that were tried on the embedded model, the one with most claims that facts can judge."""

LONGEST = {"answer": 64, "claim": 160}
"""Tokens of an answer, by unit."""
