"""What a probability knows beyond how often answers are right at all."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from guardrail.calibration.metrics import brier, checked_probabilities
from guardrail.errors import CalibrationError


def brier_skill(p_correct: ArrayLike, correct: ArrayLike) -> float:
    """The Brier skill score: 1 minus the Brier score over that of the base rate, said of every answer. Higher is better.

    1 is certain and always right; 0 is no better than the share of right answers, known beforehand; below 0 is worse than
    that. What is calibrated and tells nothing apart has 0, where its ECE is 0, too (Brier 1950; Murphy 1973).

        brier_skill([0.9, 0.8, 0.4, 0.1], [True, True, False, False])   # 1 - 0.055 / 0.25: 0.78

    Raises `CalibrationError` where all answers are right or all are wrong: nothing can be better than that base rate.
    """
    p, c = checked_probabilities(p_correct, correct)
    rate = float(np.mean(c))
    if rate in (0.0, 1.0):
        raise CalibrationError(f"Brier skill needs right and wrong answers; these {len(c)} are all alike")
    return 1 - brier(p, c) / (rate * (1 - rate))
