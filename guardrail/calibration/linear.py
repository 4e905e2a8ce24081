"""Logistic regression on the first principal directions of long vectors. Knows nothing about what they are vectors of."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import expit

from guardrail.calibration.logistic import logistic
from guardrail.calibration.metrics import Bools, Floats

_DIRECTIONS = 64
_ROWS_A_DIRECTION = 20  # with more directions, a regression of few rows ranks new ones at random
_PENALTY = 0.03  # of half the squared weights, beside the mean log-loss in nats; 0.01 to 0.1 make no difference


@dataclass(frozen=True, slots=True, eq=False)
class Linear:
    """Vectors, (n, D), -> p_correct, (n,). mean: (D,). weights: of the centred vectors, (D,)."""

    mean: Floats
    weights: Floats
    intercept: float

    def p_correct(self, vectors: Floats) -> Floats:
        out: Floats = expit((vectors - self.mean) @ self.weights + self.intercept)
        return out


def fit_linear(vectors: Floats, correct: Bools) -> Linear:
    """The regression of these rows: ridge, along at most 64 principal directions, one for every 20 rows.

    The directions keep their spread, so that the penalty weighs most on those that hardly vary.

    Args:
        vectors: (n, D).
        correct: (n,), right and wrong ones.
    """
    mean: Floats = vectors.mean(0)
    centred = vectors - mean
    most = max(1, min(_DIRECTIONS, len(vectors) // _ROWS_A_DIRECTION))
    _, sizes, axes = np.linalg.svd(centred, full_matrices=False)
    unit = max(float(np.sqrt((sizes**2).sum() / len(vectors))), 1e-9)  # the length of a centred vector
    weights, intercept = logistic(centred @ axes[:most].T / unit, correct, _PENALTY, negative=True)
    return Linear(mean, axes[:most].T @ weights / unit, intercept)
