"""A retriever as the user gives it -> the same questions asked again with passages."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from guardrail.datasets.drawing import check_limit, drawn
from guardrail.datasets.questions import question_digest
from guardrail.evaluation.setting import StrPath
from guardrail.retrieval import Retriever, load_retriever

if TYPE_CHECKING:
    from guardrail.datasets.questions import QuestionRow
    from guardrail.grading import Grader
    from guardrail.model.local import LocalModel
    from guardrail.runs.answers import Answers
    from guardrail.runs.asking import Asking, RunOptions


@dataclass(frozen=True, slots=True)
class Passages:
    """Where passages come from. most: of one search. questions: the most that are asked again, drawn at random."""

    retriever: Retriever
    name: str
    most: int
    questions: int

    @classmethod
    def of(cls, given: Retriever | StrPath, most: int, questions: int) -> Passages:
        """given: a retriever, or what `load_retriever` takes.

        Raises `RetrievalError` for what cannot be read, and `DataError` for numbers below 1.
        """
        for name, number in (("passages", most), ("ask_again", questions)):
            check_limit(number, why=f"{name}: ")
        if isinstance(given, str | os.PathLike):
            return cls(load_retriever(given, most), os.path.basename(os.path.normpath(given)), most, questions)
        return cls(given, type(given).__name__, most, questions)

    def asked(
        self, local: LocalModel, rows: Sequence[QuestionRow], grader: Grader, asking: Asking, options: RunOptions
    ) -> Answers:
        """The questions answered with passages. options: of the run without, beside which this one's file stands."""
        from guardrail.runs.evidence import collect_with_evidence, looked_up

        some = drawn({question_digest(row.question): row for row in rows}, self.questions)
        return collect_with_evidence(
            local, looked_up(some, self.retriever, self.most), grader, asking, options.beside("evidence")
        )

    @property
    def source(self) -> dict[str, Any]:
        """What a calibrator keeps of it."""
        return {"retriever": self.name, "passages": self.most, "questions": self.questions}
