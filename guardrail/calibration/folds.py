"""Splits answers or claims into folds for cross-validation."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from guardrail.errors import CalibrationError

Groups = NDArray[np.intp]
"""Which answer a claim comes from, (n,): claims of one answer are no independent evidence, so they stay together."""


def stratified_folds(
    correct: NDArray[np.bool_], folds: int, seed: int = 0, groups: Groups | None = None
) -> list[NDArray[np.intp]]:
    """Indices of each fold's answers, at random, with right and wrong ones spread evenly.

    correct: (n,). groups: (n,), what must not be torn apart; the spread is then as even as whole groups allow. Raises
    `CalibrationError` when there are fewer right or wrong answers than folds, or a fold's rest has only one kind.
    """
    rare = int(min(correct.sum(), (~correct).sum()))
    if not 2 <= folds <= rare:
        raise CalibrationError(
            f"{folds} folds of {len(correct)} answers, {rare} of the rarer kind; take 2 to {rare} folds, or more data"
        )
    if groups is not None:
        return _grouped(correct, folds, seed, groups)
    shuffled = np.random.default_rng(seed).permutation(len(correct))
    shuffled = shuffled[np.argsort(correct[shuffled], kind="stable")]  # wrong ones first, each kind in random order
    fold = np.empty(len(correct), dtype=np.intp)
    fold[shuffled] = np.arange(len(correct)) % folds
    return [np.flatnonzero(fold == f) for f in range(folds)]


def out_of_fold(
    correct: NDArray[np.bool_],
    predict: Callable[[NDArray[np.intp], NDArray[np.intp]], NDArray[np.float64]],
    *,
    folds: int,
    seed: int = 0,
    groups: Groups | None = None,
) -> NDArray[np.float64]:
    """What is predicted of every answer by what was fitted on the other folds, (n,).

    predict: called with the indices to fit on and those to predict, each ascending. Otherwise as `stratified_folds`.
    """
    out = np.empty(len(correct))
    for test in stratified_folds(correct, folds, seed, groups):
        out[test] = predict(np.setdiff1d(np.arange(len(correct)), test), test)
    return out


def _grouped(correct: NDArray[np.bool_], folds: int, seed: int, groups: Groups) -> list[NDArray[np.intp]]:
    """Groups one by one, those with most of the rarer kind first, each to the fold that has the fewest of it so far."""
    _, member = np.unique(groups, return_inverse=True)
    of_rare = correct if correct.sum() * 2 <= len(correct) else ~correct
    size, rare = np.bincount(member), np.bincount(member, weights=of_rare)
    shuffled = np.random.default_rng(seed).permutation(len(size))
    shuffled = shuffled[np.lexsort((-size[shuffled], -rare[shuffled]))]
    of_group = np.empty(len(size), dtype=np.intp)
    load, load_rare = np.zeros(folds), np.zeros(folds)
    for g in shuffled:
        fold = np.lexsort((load, load_rare))[0] if rare[g] else np.argmin(load)
        of_group[g] = fold
        load[fold] += size[g]
        load_rare[fold] += rare[g]
    fold_of = of_group[member]
    for f in range(folds):
        rest = correct[fold_of != f]
        if not (fold_of == f).any() or rest.all() or not rest.any():
            raise CalibrationError(
                f"{folds} folds of {len(size)} answers' claims leave one empty or another with right or wrong ones "
                "alone; take fewer folds, or more questions"
            )
    return [np.flatnonzero(fold_of == f) for f in range(folds)]
