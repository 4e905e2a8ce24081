"""The bundled questions and retrieval passages: factual short-answer questions with every accepted answer.

What it does: hands out the questions of questions.jsonl, split into a calibration and a held-out half, and the
paths of the question and passage files. All of it was written for this project, from the tables in facts/ by
guardrail.data.build, and needs no network.

What it does not know about: models, scores, how an answer is compared with the accepted ones, and retrieval.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

__all__ = ["Question", "Split", "load_questions", "passages_path", "questions_path"]

Split: TypeAlias = Literal["calibration", "heldout"]

_HERE = Path(__file__).resolve().parent


@dataclass(frozen=True, slots=True)
class Question:
    """One question; `answers` holds every accepted form, the usual one first.

    Questions of one `group` reveal each other's answers, so a group never straddles the two splits.
    """

    id: str
    kind: str
    group: str
    question: str
    answers: tuple[str, ...]
    split: Split


def questions_path() -> Path:
    """The file with all bundled questions, one JSON object a line."""
    return _HERE / "questions.jsonl"


def passages_path() -> Path:
    """The file with the bundled retrieval passages, one JSON object a line."""
    return _HERE / "passages.jsonl"


def load_questions(split: Split | None = None) -> list[Question]:
    """The bundled questions in file order, of one split or (by default) of both."""
    if split not in (None, "calibration", "heldout"):
        raise ValueError(f"split must be 'calibration', 'heldout' or None, not {split!r}")
    rows = (json.loads(line) for line in questions_path().read_text(encoding="utf-8").splitlines())
    questions = [Question(**{**row, "answers": tuple(row["answers"])}) for row in rows]
    return [question for question in questions if split is None or question.split == split]
