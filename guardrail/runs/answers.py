"""Graded answers: the records of a run, which of them are right, and which have a score. Needs neither model nor torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from guardrail.calibration.profiles import Signals
from guardrail.errors import CalibrationError
from guardrail.grading.grade_answers import Grading, grade_answers
from guardrail.grading.protocol import AnswerRow
from guardrail.runs.readings import Sample, log_prob_of, signals_of

if TYPE_CHECKING:
    from guardrail.grading import Grader
    from guardrail.grading.hand_labels import HandLabels


@dataclass(frozen=True, slots=True, eq=False)
class Answers:
    """Graded answers, in the questions' order. scored: indices of those that have a score; signals: of those alone.

    correct: (n,) booleans over all answers; what is unscored counts too (an empty answer is wrong). Answers that could not be
    graded are not among them; `grading` tells how many there were, and how many a person graded. lost: rows without an
    answer, since no worker survived them.
    """

    records: tuple[dict[str, Any], ...]
    correct: np.ndarray
    scored: np.ndarray
    signals: Signals
    grading: Grading | None = None
    lost: int = 0

    @property
    def sample(self) -> Sample:
        """The scored ones."""
        log_prob = log_prob_of([self.records[i] for i in self.scored])
        return Sample("answer", self.signals, self.correct[self.scored], log_prob)

    def scored_by(self, scorer: str) -> Answers:
        """With those alone as scored that a scorer has a score of, too; the others' records say why not.

        scorer: the name that the run has it under. Raises `CalibrationError` where the answers were collected without it.
        """
        if without := [r for r in self.records if scorer not in r.get("scores", {})]:
            raise CalibrationError(
                f"{len(without)} of {len(self.records)} answers have nothing of the scorer {scorer!r}; collect them with it"
            )
        records = tuple(
            {**r, "unscored": r.get("unscored_by", {}).get(scorer, "not_finite")}
            if r["unscored"] is None and r["scores"][scorer] is None
            else r
            for r in self.records
        )
        kept = np.array([records[i]["unscored"] is None for i in self.scored], dtype=np.bool_)
        return replace(self, records=records, scored=self.scored[kept], signals=self.signals.take(np.flatnonzero(kept)))


def graded(
    records: Sequence[dict[str, Any]],
    grader: Grader,
    offsets: Sequence[int],
    layers: int,
    *,
    labels: HandLabels | None = None,
    ungraded_is_wrong: bool = False,
) -> Answers:
    """The records of a run, graded. offsets: where they were read. layers: of the model.

    labels: of people, who win over the grader. ungraded_is_wrong: count what the grader cannot grade as wrong, for bounds that
    must hold; otherwise it is left out.
    """
    answered = [r for r in records if "left_out" not in r]
    lost, records = len(records) - len(answered), answered
    rows = [AnswerRow.of(r, r["answer"]) for r in records]
    grading = grade_answers(rows, grader, labels)
    kept = list(range(len(rows)) if ungraded_is_wrong else grading.graded)
    told = tuple(records[i] for i in kept)
    correct = np.array([grading.grades[i] is True for i in kept], dtype=np.bool_)
    scored = np.array([i for i, r in enumerate(told) if r["unscored"] is None], dtype=np.intp)
    return Answers(told, correct, scored, signals_of([told[i] for i in scored], offsets, layers), grading, lost)
