"""Answers that a chain gave in conversations of several kinds -> a curve for each kind of which there are enough. No files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from guardrail.calibration.contexts import in_words, source_of
from guardrail.calibration.curve_fit import context_out_of_fold, curve_of_others
from guardrail.calibration.metrics import bound_risks, calibration_metrics, reliability_table
from guardrail.calibration.origin import origin_of
from guardrail.calibration.record import MIN_OF_EACH, MIN_POINTS
from guardrail.errors import CalibrationError
from guardrail.runs.chain_records import context_in, setting_in
from guardrail.scoring.registry import reader_of

if TYPE_CHECKING:
    from guardrail.evaluation.fit import Fit
    from guardrail.runs.answers import Answers
    from guardrail.scoring.stacked.features import Reading


def fit_contexts(fitted: Fit, answers: Answers, readings: Sequence[Reading], *, seed: int = 0) -> Fit:
    """The fit with a curve for each context that has at least 30 scored answers, 5 of them right and 5 wrong.

    fitted: of all the answers together. answers: of `collect_through`. readings: of the scored ones. A context's curve is drawn
    to that of the others, where there are any. Its figures are out of fold: the out-of-fold probabilities of `fitted` are what
    its curve is fitted on, each fold's without the answers in it; where the context is the only one, they are its own.

    Raises `CalibrationError` where no context has enough, and `DataError` for one whose answers had several temperatures.
    """
    calibrator, origin = fitted.calibrator, origin_of(fitted.calibrator)
    values = reader_of(origin.scorer, origin.scorer_options).numbers(readings)
    correct, p = answers.correct[answers.scored], fitted.p_correct.copy()
    records = [answers.records[i] for i in answers.scored.tolist()]
    names = [context_in(record) for record in records]
    few: dict[str, int] = {}
    for name in dict.fromkeys(sorted(names)):
        at = np.flatnonzero([own == name for own in names])
        right = int(correct[at].sum())
        if len(at) < MIN_POINTS or min(right, len(at) - right) < MIN_OF_EACH or len(np.unique(values[at])) == 1:
            few[name] = len(at)
            continue
        if len(at) < len(correct):
            p[at] = context_out_of_fold(1 - fitted.p_correct, correct, at, seed)
        calibrator = calibrator.with_context(
            name,
            values[at],
            correct[at],
            scorer=origin.scorer,
            options=origin.scorer_options,
            metrics=calibration_metrics(1 - p[at], p[at], correct[at], seed=seed),
            source=source_of(
                [(records[i]["messages"], records[i]["person"], setting_in(records[i])) for i in at.tolist()],
                [int(records[i]["limit"]) for i in at.tolist()],
                max(len(records[i]["passages"]) for i in at.tolist()),
            ),
            towards=curve_of_others(values, correct, at),
        )
    if not calibrator.contexts:
        found = ", ".join(f"{in_words(name)} {n}" for name, n in few.items())
        raise CalibrationError(
            f"no kind of conversation has {MIN_POINTS} scored answers, {MIN_OF_EACH} of them right and {MIN_OF_EACH} wrong "
            f"({found}); ask more questions"
        )
    return replace(
        fitted,
        calibrator=calibrator,
        risks=bound_risks(p, correct),
        p_correct=p,
        metrics=calibration_metrics(1 - p, p, correct, seed=seed),
        reliability=reliability_table(p, correct),
        few_contexts=few,
    )
