"""Fits the stacked model on graded answers, and says whether it ranks better than the best single scorer.

Logistic regression on quantiles of the features, with weights that cannot be negative: every feature is higher where the model
is less sure, so a negative weight would be the data's topics speaking (a kind of question whose long answers are right, say)
and would fail on the next topic. Knows nothing about models or files.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit

from guardrail.calibration.folds import Groups, out_of_fold
from guardrail.calibration.metrics import Bools, Estimate, Floats, auroc, bootstrap_difference
from guardrail.calibration.pooling import fitted_probabilities
from guardrail.calibration.profiles import FOLDS
from guardrail.calibration.record import MIN_POINTS
from guardrail.scoring.profile import quantile_of, quantiles
from guardrail.scoring.stacked.features import Reading, Tokens, features
from guardrail.scoring.stacked.model import MEDIAN, StackedFeature, StackedModel
from guardrail.scoring.stacked.thinking import NAMES, PREFIX
from guardrail.scoring.stacked.words import common_words

PENALTY = 0.003
"""Of half the squared weights, beside the mean log-loss in nats. Chosen once, on the bundled calibration questions, where
0.003 to 0.03 make no difference: not fitted to the data at hand."""

THOUGHT = tuple(PREFIX + name for name in NAMES)
"""The features of an answer that was thought about."""

_SMALLEST = 1e-4  # a weight below adds less than a ten-thousandth to the log-odds: the feature is left out


@dataclass(frozen=True, slots=True, eq=False)
class Stacking:
    """The outcome: the stacked model, and the evidence for or against it.

    adopted: whether it ranks better than `single`, the strongest single scorer, by more than chance (the 95 % interval of
    `difference`, the stacked model's AUROC minus the single's, is above 0; paired bootstrap). auroc_stacked, auroc_singles: of
    out-of-fold probabilities, each fit (weights, quantiles, common words, curve) repeated in each fold. The strongest single
    scorer is picked on these very predictions, which
    favours it. p_correct: out-of-fold probabilities of what is adopted, (n,).
    """

    model: StackedModel
    adopted: bool
    single: str
    difference: Estimate
    auroc_stacked: float
    auroc_singles: Mapping[str, float]
    p_correct: Floats


def fit_stacked(
    readings: Sequence[Reading],
    correct: Bools,
    groups: Groups | None = None,
    scorers: Mapping[str, Mapping[str, Any]] | None = None,
) -> StackedModel:
    """The stacked model of these answers or claims, n of them.

    groups: which answer each claim comes from, (n,), so that a word is counted once an answer; an answer's claims come in the
    text's order. scorers: other scorers that are weighed, by name, with their options; their numbers are in the readings. Only
    the features that all readings have take part (a short prompt has fewer tokens to look at), and those of thoughts, which 30
    have: the others stand at the median there.
    """
    weighed = dict(scorers or {})
    readings = [replace(r, scores={name: r.scores.get(name) for name in weighed}) for r in readings]
    answers: dict[int, Tokens] = {}
    for i, reading in enumerate(readings):  # in the text's order, so that an answer's last claim has most of it
        answers[i if groups is None else int(groups[i])] = reading.so_far or reading.tokens
    common = common_words([tokens.words or () for tokens in answers.values()])
    rows = [features(r, frozenset(common)) for r in readings]
    names = [name for name in rows[0] if all(name in row for row in rows)]
    if sum(THOUGHT[0] in row for row in rows) >= MIN_POINTS:
        names = list(dict.fromkeys([*names, *THOUGHT]))
    grids = {name: quantiles([row[name] for row in rows if name in row]) for name in names}
    X = np.array([[_place(row.get(name), grids[name]) for name in names] for row in rows])  # (n, features)
    weights, intercept = logistic(X, ~correct)
    return StackedModel(
        intercept=intercept,
        common_words=common,
        features=tuple(
            StackedFeature(name=name, weight=weight, quantiles=grids[name])
            for name, weight in zip(names, weights.tolist(), strict=True)
            if weight >= _SMALLEST
        ),
        scorers={name: dict(options) for name, options in weighed.items()},
    )


def _place(value: float | None, grid: Sequence[float]) -> float:
    return MEDIAN if value is None else quantile_of(value, grid)


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


def stacked_scores(model: StackedModel, readings: Sequence[Reading]) -> Floats:
    """The score of every reading, (n,); higher = more uncertain. Raises `ScoringError` where one lacks what the model reads."""
    return np.array([model.number(features(r, model.common)) for r in readings], dtype=np.float64)


def out_of_fold_stacked(
    readings: Sequence[Reading],
    correct: Bools,
    *,
    scorers: Mapping[str, Mapping[str, Any]] | None = None,
    folds: int = FOLDS,
    seed: int = 0,
    groups: Groups | None = None,
    answers: Groups | None = None,
) -> Floats:
    """p_correct of every reading from weights and a curve that were fitted on the other folds, (n,).

    groups: what is never in two folds, (n,). answers: which answer each claim comes from, as in `fit_stacked`.
    """

    def predict(train: NDArray[np.intp], test: NDArray[np.intp]) -> Floats:
        inside, outside = [readings[i] for i in train], [readings[i] for i in test]
        model = fit_stacked(inside, correct[train], None if answers is None else answers[train], scorers)
        return fitted_probabilities(stacked_scores(model, inside), correct[train], stacked_scores(model, outside))

    return out_of_fold(correct, predict, folds=folds, seed=seed, groups=groups)


def select_stacked(
    readings: Sequence[Reading],
    correct: Bools,
    singles: Mapping[str, Floats],
    *,
    scorers: Mapping[str, Mapping[str, Any]] | None = None,
    folds: int = FOLDS,
    seed: int = 0,
    groups: Groups | None = None,
) -> Stacking:
    """Fit the stacked model, and adopt it where it ranks better than every single scorer by more than chance.

    singles: out-of-fold p_correct of single scorers, (n,) each, from the same folds. groups: the answer that each claim comes
    from; claims of one answer are never in two folds, and the bootstrap draws answers. scorers: as in `fit_stacked`.
    """
    p = out_of_fold_stacked(readings, correct, scorers=scorers, folds=folds, seed=seed, groups=groups, answers=groups)
    ranked = {name: auroc(1 - values, correct) for name, values in singles.items()}
    best = max(ranked, key=lambda name: ranked[name])
    difference = bootstrap_difference(auroc, (1 - p, correct), (1 - singles[best], correct), seed=seed, groups=groups)
    adopted = difference.low > 0
    return Stacking(
        model=fit_stacked(readings, correct, groups, scorers),
        adopted=adopted,
        single=best,
        difference=difference,
        auroc_stacked=auroc(1 - p, correct),
        auroc_singles=ranked,
        p_correct=p if adopted else singles[best],
    )
