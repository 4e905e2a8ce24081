"""Hidden states and which answers are right -> a `StateProbe`, and what it says of answers that it has not seen."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from guardrail.array_text import array_text
from guardrail.calibration.folds import Groups, out_of_fold
from guardrail.calibration.logistic import logistic
from guardrail.calibration.metrics import Bools, Floats
from guardrail.calibration.pooling import fitted_probabilities
from guardrail.calibration.profiles import FOLDS
from guardrail.errors import CalibrationError
from guardrail.scoring.states.model import StateProbe

DIRECTIONS = 16
"""The most that a state is compressed to; of few answers there are fewer, one for every 20."""
PENALTY = 0.03
"""Of half the squared weights, beside the mean log-loss in nats."""

_ROWS_A_DIRECTION = 20
_FAR = 2.0  # in lengths of the longest twentieth of the calibration's states


def fit_state_probe(states: Floats, correct: Bools, layer: int) -> StateProbe:
    """The probe of these answers.

    Args:
        states: What entered the layer, (n, D), finite.
        correct: (n,), right and wrong ones.
        layer: Which layer, from 0.

    Raises:
        CalibrationError: For states that are not (n, D) finite numbers, or answers that are all right or all wrong.
    """
    x = np.asarray(states, dtype=np.float64)
    if x.ndim != 2 or len(x) != len(correct) or not np.isfinite(x).all():
        raise CalibrationError(
            f"states of shape {x.shape} for {len(correct)} answers; (n, D) finite numbers are needed"
        )
    wrong = ~correct
    if wrong.all() or not wrong.any():
        raise CalibrationError(f"a probe needs right and wrong answers; these {len(x)} are all of one kind")
    mean: Floats = x.mean(0)
    most = max(1, min(DIRECTIONS, len(x) // _ROWS_A_DIRECTION))
    _, sizes, directions = np.linalg.svd(x - mean, full_matrices=False)
    spread = np.maximum(sizes[:most], 1e-6) / math.sqrt(len(x))
    axes = (directions[:most].T / spread).astype("<f2")  # (D, k), as the file has them
    whitened = (x - mean) @ axes.astype(np.float64)
    weights, intercept = logistic(whitened, wrong, PENALTY, negative=True)
    near = float(np.quantile(np.linalg.norm(whitened, axis=1), 0.95))
    return StateProbe(
        layer=layer,
        mean=array_text(mean, "<f4"),
        axes=array_text(axes, "<f2"),
        weights=tuple(weights.tolist()),
        base=float(np.log(wrong.sum() / correct.sum())),
        intercept=intercept,
        near=near,
        far=_FAR * max(near, 1e-6),
    )


def out_of_fold_numbers(
    states: Floats, correct: Bools, layer: int, *, folds: int = FOLDS, seed: int = 0, groups: Groups | None = None
) -> Floats:
    """The number of every answer by a probe of the other folds, (n,): what a curve is fitted on, since a probe knows its own
    answers too well."""

    def predict(train: NDArray[np.intp], test: NDArray[np.intp]) -> Floats:
        return fit_state_probe(states[train], correct[train], layer).numbers(states[test])

    return out_of_fold(correct, predict, folds=folds, seed=seed, groups=groups)


def out_of_fold_probe(
    states: Floats, correct: Bools, layer: int, *, folds: int = FOLDS, seed: int = 0, groups: Groups | None = None
) -> Floats:
    """p_correct of every answer by a probe and a curve of the other folds, the curve on numbers out of inner folds, (n,)."""

    def predict(train: NDArray[np.intp], test: NDArray[np.intp]) -> Floats:
        inside = None if groups is None else groups[train]
        known = out_of_fold_numbers(states[train], correct[train], layer, folds=folds - 1, seed=seed, groups=inside)
        new = fit_state_probe(states[train], correct[train], layer).numbers(states[test])
        return fitted_probabilities(known, correct[train], new)

    return out_of_fold(correct, predict, folds=folds, seed=seed, groups=groups)
