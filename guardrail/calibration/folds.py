"""Splits answers into folds for cross-validation. Knows nothing about scores."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from guardrail.errors import CalibrationError


def stratified_folds(correct: NDArray[np.bool_], folds: int, seed: int = 0) -> list[NDArray[np.intp]]:
    """Indices of each fold's answers, at random, with right and wrong ones spread evenly.

    correct: (n,). Raises `CalibrationError` when there are fewer right or wrong answers than folds.
    """
    rare = int(min(correct.sum(), (~correct).sum()))
    if not 2 <= folds <= rare:
        raise CalibrationError(
            f"{folds} folds of {len(correct)} answers, {rare} of the rarer kind; take 2 to {rare} folds, or more data"
        )
    shuffled = np.random.default_rng(seed).permutation(len(correct))
    shuffled = shuffled[np.argsort(correct[shuffled], kind="stable")]  # wrong ones first, each kind in random order
    fold = np.empty(len(correct), dtype=np.intp)
    fold[shuffled] = np.arange(len(correct)) % folds
    return [np.flatnonzero(fold == f) for f in range(folds)]
