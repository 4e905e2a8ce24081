"""Answers -> grades: a person's label where there is one, else a grader's word."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from pydantic import JsonValue

from guardrail.grading.hand_labels import HandLabels
from guardrail.grading.protocol import AnswerRow, Grade, Grader


@dataclass(frozen=True, slots=True)
class Grading:
    """Grades of answers, in order. by_hand: how many come from a person. ungraded: why some are neither, with how many."""

    grader: str
    grades: tuple[Grade, ...]
    by_hand: int = 0
    labels: str | None = None
    ungraded: dict[str, int] = field(default_factory=dict)

    @property
    def graded(self) -> list[int]:
        """Indices of those that are right or wrong."""
        return [i for i, grade in enumerate(self.grades) if grade is not None]

    def to_dict(self) -> dict[str, JsonValue]:
        """JSON-ready: what a calibrator keeps of it. labels_sha256: of the labels that were at hand, used or not."""
        out: dict[str, JsonValue] = {"grader": self.grader, "by_hand": self.by_hand}
        if self.labels:
            out["labels_sha256"] = self.labels
        if self.ungraded:
            out["ungraded"] = dict(self.ungraded)
        return out

    def in_words(self) -> str:
        """`alias; 12 of 400 by hand; 3 ungraded (no verdict)`."""
        parts = [self.grader]
        if self.by_hand:
            parts.append(f"{self.by_hand} of {len(self.grades)} by hand")
        if self.ungraded:
            parts.append(f"{sum(self.ungraded.values())} ungraded ({', '.join(self.ungraded)})")
        return "; ".join(parts)


def grade_answers(rows: Sequence[AnswerRow], grader: Grader, labels: HandLabels | None = None) -> Grading:
    """The grade of every answer. A person's label wins, whatever the grader says, which is not even asked."""
    labels = labels or HandLabels()
    grades: list[Grade] = [labels.of(row.question, row.answer) for row in rows]
    asked = [i for i, grade in enumerate(grades) if grade is None]
    for i, grade in zip(asked, grader.grade([rows[i] for i in asked]), strict=True):
        grades[i] = grade
    return Grading(
        grader=grader.name,
        grades=tuple(grades),
        by_hand=len(rows) - len(asked),
        labels=labels.digest if len(labels) else None,
        ungraded=dict(grader.ungraded),
    )
