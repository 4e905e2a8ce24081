"""Logistic regression with a ridge penalty, and weights that cannot be negative where that is asked. Knows no features."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit

from guardrail.calibration.metrics import Bools, Floats

PENALTY = 0.003
"""Of half the squared weights, beside the mean log-loss in nats. Chosen once, on the bundled calibration questions, where
0.003 to 0.03 make no difference: not fitted to the data at hand."""


def logistic(
    X: NDArray[np.float64], wrong: Bools, penalty: float = PENALTY, *, negative: bool = False
) -> tuple[Floats, float]:
    """Weights and intercept that minimise mean log-loss + penalty / 2 x the squared weights.

    X: (n, features). wrong: (n,). negative: whether a weight may be below zero. The problem is convex: there is one minimum
    (L-BFGS-B with bounds; Byrd et al. 1995).
    """
    side, k = np.where(wrong, 1.0, -1.0), X.shape[1]
    centre = X.mean(0)
    Z = X - centre  # the intercept then hardly depends on the weights, which the search likes

    def loss(b: Floats) -> tuple[float, Floats]:
        margin = side * (Z @ b[:k] + b[k])
        slope = -side * expit(-margin) / len(side)
        value = np.logaddexp(0, -margin).mean() + penalty / 2 * float(b[:k] @ b[:k])
        return float(value), np.append(Z.T @ slope + penalty * b[:k], slope.sum())

    bounds = [(None if negative else 0, None)] * k + [(None, None)]
    found = minimize(loss, np.zeros(k + 1), jac=True, method="L-BFGS-B", bounds=bounds, options={"gtol": 1e-8})
    return found.x[:k], float(found.x[k] - centre @ found.x[:k])
