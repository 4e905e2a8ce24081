"""Graded answers -> the same, with how alike each one's question is to those of a calibration. Needs no model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from guardrail.runs.answers import Answers
from guardrail.runs.claim_answers import ClaimAnswers

if TYPE_CHECKING:
    from guardrail.calibration.isotonic import IsotonicCalibrator
    from guardrail.calibration.metrics import Floats
    from guardrail.runs.scores import Graded


def with_familiarity(calibrator: IsotonicCalibrator, answers: Graded, states: Sequence[Floats | None]) -> Graded:
    """The same with the `familiarity` of each answer's question, or claim's, a p-value.

    states: of each record; where it is None, nothing is said. Unchanged where the calibrator knows no questions.
    """
    known = calibrator.familiarity
    told = {i: state for i, state in enumerate(states) if state is not None}
    if known is None or not told:
        return answers
    p_values = dict(zip(told, known.p_values(np.stack(list(told.values()))).tolist(), strict=True))
    records = tuple(
        {**record, "familiarity": p_values[i]} if i in p_values else record for i, record in enumerate(answers.records)
    )
    if isinstance(answers, ClaimAnswers):
        own = [p_values.get(i) for i in answers.groups.tolist()]
        claims = tuple({**claim, "familiarity": p} for claim, p in zip(answers.claims, own, strict=True))
        return replace(answers, records=records, claims=claims)
    return Answers(records, answers.correct, answers.scored, answers.signals, answers.grading)
