"""Faults put into the parts of a guard, one at a time. `python -m tests.faults` counts them and what each came to."""
