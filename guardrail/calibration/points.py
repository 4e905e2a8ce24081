"""Scores and labels as arrays, checked."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from guardrail.calibration.metrics import Bools, Floats
from guardrail.calibration.record import LARGEST, MIN_POINTS
from guardrail.errors import CalibrationError
from guardrail.types import Score


def points_of(scores: Sequence[Score | float] | ArrayLike, correct: ArrayLike) -> tuple[Floats, Bools]:
    """Scores and labels, (n,) each. Raises `CalibrationError` for what cannot be calibrated on."""
    s, c = finite(scores), np.asarray(correct)
    if s.shape != c.shape:
        raise CalibrationError(f"{len(s)} scores but labels of shape {c.shape}; give one label for each score")
    if not len(c):
        raise CalibrationError(f"no answers to calibrate on; take at least {MIN_POINTS}")
    if c.dtype != np.bool_:
        raise CalibrationError(f"labels must be booleans (True = right), not {c.dtype}; convert them, e.g. grades == 1")
    return s, c


def finite(scores: Sequence[Score | float] | ArrayLike) -> Floats:
    """Scores as an array, (n,). Raises `CalibrationError` where one is unscored or not finite."""
    if isinstance(scores, Sequence):
        scores = [(math.nan if s.unscored else s.value) if isinstance(s, Score) else s for s in scores]
    s = np.asarray(scores, dtype=np.float64)
    if s.ndim != 1:
        raise CalibrationError(f"scores must be a row of numbers, not an array of shape {s.shape}")
    bad = int((~(np.abs(s) <= LARGEST)).sum())
    if bad:
        raise CalibrationError(f"{bad} of {len(s)} scores are unscored or not finite; leave those answers out")
    return s
