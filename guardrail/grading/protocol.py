"""What a grader is: rows of question, answer and accepted forms in, right, wrong or ungraded out.

Every grader goes through one guard, `Grader.grade`: an answer that says nothing is wrong before any rule or model sees it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, TypeAlias, final

from pydantic import JsonValue

from guardrail.plain_text import says_something

Grade: TypeAlias = bool | None
"""True: right. False: wrong. None: ungraded, neither; never to be counted as right."""


@dataclass(frozen=True, slots=True)
class AnswerRow:
    """An answer, the question that it was given to, and the forms that are accepted as right."""

    question: str
    answer: str
    accepted: tuple[str, ...]


class Grader(ABC):
    """Says which answers are right. A subclass gives `kind`, `options` and `_grade`; nothing overrides `grade`.

    kind: its name in `--grader`. options: everything else that a grade depends on (model, threshold). ungraded: why answers of
    the last `grade` are ungraded, with how many.
    """

    kind: ClassVar[str]

    def __init__(self) -> None:
        self.ungraded: Counter[str] = Counter()

    @property
    def name(self) -> str:
        """The grader with its options in one string, which `get_grader` reads: `semantic:all-minilm-l6-v2@0.7`."""
        return self.kind

    @property
    def options(self) -> Mapping[str, JsonValue]:
        return {}

    def load(self) -> None:  # noqa: B027  (rules have nothing to load)
        """Load what grades are made with, so that a model that is not there is noticed before hours of answers are made."""

    @final
    def grade(self, rows: Sequence[AnswerRow]) -> list[Grade]:
        """A grade for each row, in order. An answer without a letter or digit is wrong, whatever is accepted.

        AliasGrader().grade([AnswerRow("Capital of France?", "It is Paris.", ("Paris",))])  # [True]
        """
        self.ungraded = Counter()
        out: list[Grade] = [False] * len(rows)
        asked = [i for i, row in enumerate(rows) if says_something(row.answer)]
        grades = self._grade([rows[i] for i in asked]) if asked else []
        for i, grade in zip(asked, grades, strict=True):
            out[i] = grade if grade is None else bool(grade)
        return out

    def __call__(self, question: str, answer: str, accepted: Sequence[str]) -> Grade:
        """The grade of one answer."""
        return self.grade([AnswerRow(question, answer, tuple(accepted))])[0]

    @abstractmethod
    def _grade(self, rows: Sequence[AnswerRow]) -> Sequence[Grade]:
        """Grades of answers that say something; at least one row."""


class RuleGrader(Grader):
    """A grader that needs no model: it looks at one row at a time and leaves none ungraded."""

    def _grade(self, rows: Sequence[AnswerRow]) -> Sequence[Grade]:
        return [self._right(row) for row in rows]

    @abstractmethod
    def _right(self, row: AnswerRow) -> bool: ...
