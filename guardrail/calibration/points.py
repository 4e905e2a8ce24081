"""Scores and labels as arrays, checked."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from guardrail.calibration.metrics import Bools, Floats
from guardrail.calibration.record import LARGEST, MIN_OF_EACH, MIN_POINTS
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


def checked_points(scores: Sequence[Score | float] | ArrayLike, correct: ArrayLike, what: str) -> tuple[Floats, Bools]:
    """The arrays that a curve is fitted on. what: "answers", say. Raises `CalibrationError` as `IsotonicCalibrator.fit`."""
    s, c = points_of(scores, correct)
    right, n = int(c.sum()), len(c)
    if n < MIN_POINTS:
        raise CalibrationError(f"{n} scored {what} are too few to calibrate; take at least {MIN_POINTS}")
    if min(right, n - right) < MIN_OF_EACH:
        raise CalibrationError(
            f"{right} of {n} {what} are right; a calibrator needs at least {MIN_OF_EACH} right and {MIN_OF_EACH} wrong: add "
            f"{'harder' if right > n // 2 else 'easier'} questions, and check the grader"
        )
    if s.min() == s.max():
        raise CalibrationError(f"all {n} scores are {s[0]:g}, which tells right from wrong nowhere; check the scorer")
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
