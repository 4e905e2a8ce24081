"""What scoring costs: `make bench`, or `python -m tests.benchmarks --help`."""
