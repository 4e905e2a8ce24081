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

from guardrail.calibration.folds import Groups, out_of_fold
from guardrail.calibration.logistic import logistic
from guardrail.calibration.metrics import Bools, Estimate, Floats, auroc, bootstrap_difference
from guardrail.calibration.pooling import fitted_probabilities
from guardrail.calibration.profiles import FOLDS
from guardrail.calibration.record import MIN_POINTS
from guardrail.calibration.state_probe_fit import fit_state_probe, out_of_fold_numbers
from guardrail.scoring.profile import quantile_of, quantiles
from guardrail.scoring.stacked.features import PROBE, Reading, Tokens, features
from guardrail.scoring.stacked.model import MEDIAN, StackedFeature, StackedModel
from guardrail.scoring.stacked.thinking import NAMES, PREFIX
from guardrail.scoring.stacked.words import common_words
from guardrail.scoring.states.model import StateProbe

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
    probe: bool = False,
) -> StackedModel:
    """The stacked model of these answers or claims, n of them.

    groups: which answer each claim comes from, (n,), so that a word is counted once an answer; an answer's claims come in the
    text's order. scorers: other scorers that are weighed, by name, with their options; their numbers are in the readings. Only
    the features that all readings have take part (a short prompt has fewer tokens to look at), and those of thoughts, which 30
    have: the others stand at the median there. probe: whether a probe is fitted and weighed, too, where all have the states of
    answers without passages; its quantiles and its weight come from what probes say that have not seen the answer.
    """
    weighed = dict(scorers or {})
    readings = [replace(r, scores={name: r.scores.get(name) for name in weighed}) for r in readings]
    answers: dict[int, Tokens] = {}
    for i, reading in enumerate(readings):  # in the text's order, so that an answer's last claim has most of it
        answers[i if groups is None else int(groups[i])] = reading.so_far or reading.tokens
    common = common_words([tokens.words or () for tokens in answers.values()])
    rows = [features(r, frozenset(common)) for r in readings]
    said = _probe_out_of_fold(readings, correct) if probe else None
    if said is not None:
        rows = [{**row, PROBE: number} for row, number in zip(rows, said.tolist(), strict=True)]
    names = [name for name in rows[0] if all(name in row for row in rows)]
    if sum(THOUGHT[0] in row for row in rows) >= MIN_POINTS:
        names = list(dict.fromkeys([*names, *THOUGHT]))
    grids = {name: quantiles([row[name] for row in rows if name in row]) for name in names}
    X = np.array([[_place(row.get(name), grids[name]) for name in names] for row in rows])  # (n, features)
    weights, intercept = logistic(X, ~correct)
    weighs = {name: weight for name, weight in zip(names, weights.tolist(), strict=True) if weight >= _SMALLEST}
    return StackedModel(
        intercept=intercept,
        common_words=common,
        features=tuple(StackedFeature(name=n, weight=w, quantiles=grids[n]) for n, w in weighs.items()),
        probe=_probe(readings, correct) if PROBE in weighs else None,
        scorers={name: dict(options) for name, options in weighed.items()},
    )


def _place(value: float | None, grid: Sequence[float]) -> float:
    return MEDIAN if value is None else quantile_of(value, grid)


def own_scores(model: StackedModel, readings: Sequence[Reading], correct: Bools) -> Floats:
    """The scores of the very readings that `fit_stacked` made the model of, (n,), as a curve is to be fitted on them.

    A probe knows its own answers too well: its number is that of probes which have not seen the answer. correct: (n,).
    """
    if model.probe is None:
        return stacked_scores(model, readings)
    said = _probe_out_of_fold(readings, correct)
    assert said is not None  # noqa: S101  (the model was fitted on them)
    rows = [{**features(r, model.common), PROBE: number} for r, number in zip(readings, said.tolist(), strict=True)]
    return np.array([model.number(row) for row in rows], dtype=np.float64)


def stacked_scores(model: StackedModel, readings: Sequence[Reading]) -> Floats:
    """The score of every reading, (n,); higher = more uncertain. Raises `ScoringError` where one lacks what the model reads."""
    return np.array([model.number(features(r, model.common, model.probe)) for r in readings], dtype=np.float64)


def out_of_fold_stacked(
    readings: Sequence[Reading],
    correct: Bools,
    *,
    scorers: Mapping[str, Mapping[str, Any]] | None = None,
    folds: int = FOLDS,
    seed: int = 0,
    groups: Groups | None = None,
    answers: Groups | None = None,
    probe: bool = False,
) -> Floats:
    """p_correct of every reading from weights and a curve that were fitted on the other folds, (n,).

    groups: what is never in two folds, (n,). answers: which answer each claim comes from, as in `fit_stacked`. probe: as
    there.
    """

    def predict(train: NDArray[np.intp], test: NDArray[np.intp]) -> Floats:
        inside, outside = [readings[i] for i in train], [readings[i] for i in test]
        model = fit_stacked(inside, correct[train], None if answers is None else answers[train], scorers, probe)
        return fitted_probabilities(
            own_scores(model, inside, correct[train]), correct[train], stacked_scores(model, outside)
        )

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
    probe: bool = False,
) -> Stacking:
    """Fit the stacked model, and adopt it where it ranks better than every single scorer by more than chance.

    singles: out-of-fold p_correct of single scorers, (n,) each, from the same folds. groups: the answer that each claim comes
    from; claims of one answer are never in two folds, and the bootstrap draws answers. scorers, probe: as in
    `fit_stacked`.
    """
    p = out_of_fold_stacked(
        readings, correct, scorers=scorers, folds=folds, seed=seed, groups=groups, answers=groups, probe=probe
    )
    ranked = {name: auroc(1 - values, correct) for name, values in singles.items()}
    best = max(ranked, key=lambda name: ranked[name])
    difference = bootstrap_difference(auroc, (1 - p, correct), (1 - singles[best], correct), seed=seed, groups=groups)
    adopted = difference.low > 0
    return Stacking(
        model=fit_stacked(readings, correct, groups, scorers, probe),
        adopted=adopted,
        single=best,
        difference=difference,
        auroc_stacked=auroc(1 - p, correct),
        auroc_singles=ranked,
        p_correct=p if adopted else singles[best],
    )


def _states(readings: Sequence[Reading]) -> tuple[Floats, int] | None:
    """What a probe reads of all of them, (n, D), and its layer; None where one has none, or was given with passages."""
    found = [r.answer_state for r in readings if r.evidence is None and r.answer_state is not None]
    layers = {(layer, len(state)) for layer, state in found}
    if len(found) < len(readings) or len(layers) != 1:
        return None
    return np.stack([state for _, state in found]), layers.pop()[0]


def _probe(readings: Sequence[Reading], correct: Bools) -> StateProbe | None:
    states = _states(readings)
    return None if states is None else fit_state_probe(states[0], correct, states[1])


def _probe_out_of_fold(readings: Sequence[Reading], correct: Bools) -> Floats | None:
    """What probes that have not seen an answer say of it, (n,); None where there is nothing to read, or too little of it."""
    states = _states(readings)
    if states is None or min(correct.sum(), (~correct).sum()) < FOLDS:
        return None
    return out_of_fold_numbers(states[0], correct, states[1])
