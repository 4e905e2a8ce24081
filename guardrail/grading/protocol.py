"""What a grader is: rows of question, answer and accepted forms in, right, wrong or ungraded out.

Every grader goes through one guard, `Grader.grade`: an answer that says nothing is wrong before any rule or model sees it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, TypeAlias, final

from pydantic import JsonValue

from guardrail.errors import DataError
from guardrail.grading.alias import equal
from guardrail.grading.lists import ListGrade, parts_of
from guardrail.plain_text import says_something, tokens

Grade: TypeAlias = bool | None
"""True: right. False: wrong. None: ungraded, neither; never to be counted as right."""


@dataclass(frozen=True, slots=True)
class AnswerRow:
    """An answer, the question that it was given to, and the forms that are accepted as right.

    items: where several things are all needed, the forms of each; empty where any one of `accepted` is enough.
    """

    question: str
    answer: str
    accepted: tuple[str, ...]
    items: tuple[tuple[str, ...], ...] = ()

    @classmethod
    def of(cls, record: Mapping[str, Any], answer: str) -> AnswerRow:
        """An answer to the question of a run's record."""
        items = tuple(tuple(item) for item in record.get("items", ()))
        return cls(record["question"], answer, tuple(record["accepted"]), items)


class Grader(ABC):
    """Says which answers are right. A subclass gives `kind`, `options` and `_grade`; nothing overrides `grade`.

    kind: its name in `--grader`. options: everything else that a grade depends on (model, threshold). ungraded: why answers of
    the last `grade` are ungraded, with how many. lists: what its answers to rows with `items` gave of them, in order.
    """

    kind: ClassVar[str]

    def __init__(self) -> None:
        self.ungraded: Counter[str] = Counter()
        self.lists: list[ListGrade] = []

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

        A row with `items` is right where all of them are given and nothing else is: `grade_lists`.

        AliasGrader().grade([AnswerRow("Capital of France?", "It is Paris.", ("Paris",))])  # [True]
        """
        self.ungraded = Counter()
        out: list[Grade] = [False] * len(rows)
        plain = [i for i, row in enumerate(rows) if not row.items]
        for i, grade in zip(plain, self._guarded([rows[i] for i in plain]), strict=True):
            out[i] = grade
        of_plain, self.ungraded = self.ungraded, Counter()
        listed = [i for i, row in enumerate(rows) if row.items]
        self.lists = self._lists([rows[i] for i in listed])
        for i, found in zip(listed, self.lists, strict=True):
            out[i] = found.grade
        # the grader counted parts of answers
        if lost := [found.grade for found in self.lists].count(None):
            of_plain[", ".join(self.ungraded) or "a part of a list"] += lost
        self.ungraded = of_plain
        return out

    @final
    def grade_lists(self, rows: Sequence[AnswerRow]) -> list[ListGrade]:
        """What each answer gives of its row's `items`: the answer is taken apart (`parts_of`), and each part graded against
        each item as if it were the whole answer. A part that equals a form is that item's, and the grader is not asked.

        row = AnswerRow("Which two colours?", "Red and pink.", ("red", "blue"), (("red",), ("blue",)))
        AliasGrader().grade_lists([row])[0].wrong  # ("pink.",)

        Raises `DataError` for a row without `items`.
        """
        if any(not row.items for row in rows):
            raise DataError("a row without `items` lists nothing that is all needed; use `grade`")
        self.grade(rows)
        return self.lists

    def _lists(self, rows: Sequence[AnswerRow]) -> list[ListGrade]:
        parts = [parts_of(row.question, row.answer, row.items) for row in rows]
        found: dict[tuple[int, int, int], Grade] = {}
        asked: list[tuple[int, int, int]] = []
        for i, row in enumerate(rows):
            for j, part in enumerate(parts[i]):
                said = tokens(part)
                same = [any(equal(said, tokens(form)) for form in item) for item in row.items]
                for k, is_it in enumerate(same):
                    if any(same):
                        found[i, j, k] = is_it
                    else:
                        asked.append((i, j, k))
        pairs = [AnswerRow(rows[i].question, parts[i][j], rows[i].items[k]) for i, j, k in asked]
        found |= dict(zip(asked, self._guarded(pairs), strict=True))
        out = []
        for i, row in enumerate(rows):
            by_part = [[found[i, j, k] for k in range(len(row.items))] for j in range(len(parts[i]))]
            given = tuple(_any(grades[k] for grades in by_part) for k in range(len(row.items)))
            said_of = [_any(grades) for grades in by_part]
            wrong = tuple(part for part, grade in zip(parts[i], said_of, strict=True) if grade is False)
            out.append(ListGrade(given, wrong, len(parts[i]), said_of.count(None)))
        return out

    def _guarded(self, rows: Sequence[AnswerRow]) -> list[Grade]:
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


def _any(grades: Iterable[Grade]) -> Grade:
    """True where one is, else None where one is, else False."""
    seen = set(grades)
    return True if True in seen else None if None in seen else False


class RuleGrader(Grader):
    """A grader that needs no model: it looks at one row at a time and leaves none ungraded."""

    def _grade(self, rows: Sequence[AnswerRow]) -> Sequence[Grade]:
        return [self._right(row) for row in rows]

    @abstractmethod
    def _right(self, row: AnswerRow) -> bool: ...
