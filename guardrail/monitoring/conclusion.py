"""Tests -> one verdict: drift, no sign of it, or too few data.

The tests are corrected together (Holm 1979): with no drift, the chance that any of them raises the alarm is at most the false
alarm rate, however they depend on each other. "No sign of drift" is only said where a drift worth knowing of would probably
have shown: with fewer scores or labels than it takes to find, with power 0.8, scores that lie above those of the calibration
with probability 0.6, or a share of right answers 0.1 beside what was said, the verdict is "too few data".
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

from scipy.special import ndtri

Kind = Literal["no sign of drift", "too few data", "drift: recalibrate"]

SHIFT = 0.1
"""What shall not be missed: P(a log's score > a calibration's score) = 0.5 +- 0.1; a share right 0.1 beside what was said."""

POWER = 0.8


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Adjusted p-values by name, to be compared with the level of the test; the smallest comes first.

    holm({"a": 0.01, "b": 0.04})      # {"a": 0.02, "b": 0.04}
    """
    adjusted, largest = {}, 0.0
    for rank, (name, p) in enumerate(sorted(p_values.items(), key=lambda item: item[1])):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p))
        adjusted[name] = largest
    return adjusted


def scores_needed(calibrated: int, alpha: float) -> int | None:
    """Scores that it takes to find `SHIFT` with `POWER` at this level; None: never, the calibration itself has too few.

    From the variance of Mann and Whitney's statistic without drift, (1/n + 1/m) / 12.
    """
    return _needed(12 * SHIFT**2 / _reach(alpha) ** 2, 1 / calibrated)


def labels_needed(calibrated: int, share_right: float, alpha: float) -> int | None:
    """Labels that it takes to find `SHIFT` with `POWER` at this level; None: never.

    share_right: of the labelled, or as the confidences say.
    """
    variance = max(share_right * (1 - share_right), 0.01)
    return _needed(SHIFT**2 / _reach(alpha) ** 2 / variance, 1 / calibrated)


def _reach(alpha: float) -> float:
    return float(ndtri(1 - alpha / 2) + ndtri(POWER))


def _needed(total: float, spent: float) -> int | None:
    """The n with 1/n + spent = total."""
    return math.ceil(1 / (total - spent)) if total > spent else None
