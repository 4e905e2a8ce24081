"""When two answers say the same, by a language model that is asked: for open answers, which have no words in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from guardrail.grading.chat_judge import JudgeGrader
from guardrail.grading.protocol import AnswerRow
from guardrail.scoring.baselines.equivalence import Comparison


class JudgeEquivalence:
    """Two answers are equivalent where the judge calls each right with the other one as the accepted answer.

    The judge is asked as `JudgeGrader` asks it, twice a pair: N samples that are all worded differently take N (N - 1) calls.
    A reply that is no clear verdict, or a call that fails, leaves the pair apart, so that a share is never larger than what the
    judge vouches for. similarity: the share of the two directions that it calls right.

        JudgeEquivalence(JudgeGrader("openai:gpt-4.1-mini")).compare("Who?", ["Goethe"], ["J. W. von Goethe"]).same

    Raises `ModelError` where every call fails.
    """

    def __init__(self, judge: JudgeGrader) -> None:
        self.judge = judge

    @property
    def options(self) -> dict[str, Any]:
        return {"kind": "judge", "model": self.judge.model}

    def compare(self, question: str, left: Sequence[str], right: Sequence[str]) -> Comparison:
        pairs = [*zip(left, right, strict=True), *zip(right, left, strict=True)]
        grades = self.judge.grade([AnswerRow(question, answer, (accepted,)) for answer, accepted in pairs])
        said = np.array([grade is True for grade in grades], dtype=np.float64).reshape(2, len(left))
        similarity = said.mean(axis=0)
        return Comparison(np.asarray(said.all(axis=0), dtype=np.bool_), similarity, 1.0 - similarity)
