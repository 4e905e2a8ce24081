"""What readers take words of probability to mean: the quartiles behind guardrail/policy/meanings.py.

    python -m tests.benchmarks.probability_words survey-results.csv

The file is Perception-of-Probability-Words/survey-results.csv of github.com/wadefagen/datasets, 123 answers to "What percentage
do you assume something to be if researchers are ... of the result?". It names no licence, so it is not part of this project.
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import numpy as np

from guardrail.policy.meanings import SURVEYED


def quartiles(path: Path) -> dict[str, tuple[float, float, float]]:
    """Lower quartile, median and upper quartile of each phrase, as probabilities."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = [{name.strip('"').lower(): cell for name, cell in row.items()} for row in csv.DictReader(file)]
    values = {name: np.array([float(row[name]) for row in rows]) / 100 for name in SURVEYED}
    return {name: tuple(np.round(np.quantile(v, [0.25, 0.5, 0.75]), 4).tolist()) for name, v in values.items()}


if __name__ == "__main__":
    for name, found in quartiles(Path(sys.argv[1])).items():
        same = "as in guardrail/policy/meanings.py" if found == SURVEYED[name] else f"there {SURVEYED[name]}"
        print(f"{name:<20} {found}   {same}")
