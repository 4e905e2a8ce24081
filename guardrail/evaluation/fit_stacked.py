"""Graded answers or claims -> a calibrator of the stacked scorer, or of the best single one where stacking is no better.

Knows nothing about files or screens.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from pydantic import JsonValue

from guardrail.calibration.folds import stratified_folds
from guardrail.calibration.isotonic import IsotonicCalibrator
from guardrail.calibration.metrics import Floats, calibration_metrics, reliability_table
from guardrail.calibration.pooling import fitted_probabilities
from guardrail.calibration.profiles import FOLDS
from guardrail.calibration.provenance import ExtractorIdentity
from guardrail.calibration.stacking import select_stacked, stacked_scores
from guardrail.evaluation.fit import Fit, fit_calibrator, provenance_of
from guardrail.model.local import LocalModel
from guardrail.runs.asking import Asking
from guardrail.runs.readings import Sample
from guardrail.scoring.hybridgrad import HybridGradScorer
from guardrail.scoring.stacked.features import Reading
from guardrail.scoring.stacked.scorer import NAME


def fit_stacked_calibrator(
    local: LocalModel,
    sample: Sample,
    readings: Sequence[Reading],
    asking: Asking,
    *,
    questions: Sequence[str],
    data: str,
    grader: str,
    command: str,
    left_out: Mapping[str, int],
    extractor: ExtractorIdentity | None = None,
    source: Mapping[str, JsonValue] | None = None,
    grading: Mapping[str, JsonValue] | None = None,
    seed: int = 0,
) -> Fit:
    """Fit the stacked scorer, and a calibrator on it where it ranks better than every single scorer of the same pass.

    readings: of the sample's answers or claims, in order. The single scorers are HybridGrad, its profile chosen as
    `fit_calibrator` chooses it, and for answers ParaGrad and G-NLL. Otherwise as `fit_calibrator`, errors included; in the
    result, `stacking` has the evidence, and `selection` is None unless HybridGrad is the outcome.
    """
    about: dict[str, Any] = {
        "questions": questions,
        "data": data,
        "grader": grader,
        "command": command,
        "extractor": extractor,
        "source": source,
        "grading": grading,
    }
    hybrid = fit_calibrator(local, sample, asking, left_out=left_out, seed=seed, **about)
    assert hybrid.selection is not None  # noqa: S101  (it chooses a profile)
    correct, groups = sample.correct, sample.groups
    others = _others(sample) if sample.unit == "answer" else {}
    singles = {HybridGradScorer.name: hybrid.selection.p_correct}
    singles |= {name: _out_of_fold(values, sample, seed) for name, (_, values) in others.items()}
    stacking = select_stacked(readings, correct, singles, seed=seed, groups=groups)
    if not stacking.adopted and stacking.single == HybridGradScorer.name:
        return replace(hybrid, stacking=stacking)
    if stacking.adopted:
        name, options = NAME, stacking.model.model_dump(mode="json")
        values = stacked_scores(stacking.model, readings)
    else:
        name, (options, values) = stacking.single, others[stacking.single]
    p = stacking.p_correct
    metrics = calibration_metrics(1 - p, p, correct, seed=seed, groups=groups)
    return replace(
        hybrid,
        calibrator=IsotonicCalibrator().fit(
            values,
            correct,
            unit=sample.unit,
            metrics=metrics,
            unscored=left_out.get("unscored"),
            provenance=provenance_of(local, name, options, asking, correct, **about),
        ),
        selection=None,
        metrics=metrics,
        reliability=reliability_table(p, correct),
        stacking=stacking,
    )


def _others(sample: Sample) -> dict[str, tuple[dict[str, Any], Floats]]:
    """The single scorers beside HybridGrad that the same pass has, by name, with their options and numbers, (n,)."""
    signals = sample.signals
    return {
        "paragrad": ({"reduction": "mean"}, signals.paragrad),
        "g-nll": ({}, -sample.log_prob * signals.length),
    }


def _out_of_fold(values: Floats, sample: Sample, seed: int) -> Floats:
    """p_correct of every answer from a curve fitted on the other folds, (n,); the folds are `select_stacked`'s."""
    out = np.empty(len(values))
    for test in stratified_folds(sample.correct, FOLDS, seed, sample.groups):
        train = np.setdiff1d(np.arange(len(values)), test)
        out[test] = fitted_probabilities(values[train], sample.correct[train], values[test])
    return out
