"""The bundled questions and retrieval passages: factual short-answer questions with every accepted answer.

What it does: hands out the questions of questions.jsonl, those of claim_questions.jsonl (several facts of one subject in one
answer) and those of list_questions.jsonl (several answers that are all needed), each split into a calibration and a held-out
half, and the paths of these files, of the passages and of a few questions with paraphrases. All of it was written for this
project, all but the paraphrases from the tables in facts/ by guardrail.data.build, and needs no network.

What it does not know about: models, scores, how an answer is compared with the accepted ones, and retrieval.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

__all__ = [
    "ClaimQuestion",
    "ListQuestion",
    "Question",
    "Split",
    "claim_questions_path",
    "list_questions_path",
    "load_claim_questions",
    "load_list_questions",
    "load_questions",
    "paraphrases_path",
    "passages_path",
    "questions_path",
    "starter_files",
]

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


@dataclass(frozen=True, slots=True)
class ClaimQuestion:
    """Several questions about one subject in one text, and the fact that each asks for: `about`, `values`, as in the file.

    No subject is in both splits, nor is a fact that a question of `load_questions` asks for or tells in the other split.
    """

    id: str
    kind: str
    question: str
    facts: tuple[dict[str, list[str]], ...]
    split: Split


@dataclass(frozen=True, slots=True)
class ListQuestion:
    """One question whose answers are all needed; `answers` holds the accepted forms of each, the usual one first."""

    id: str
    kind: str
    question: str
    answers: tuple[tuple[str, ...], ...]
    split: Split


def questions_path() -> Path:
    """The file with all bundled questions, one JSON object a line."""
    return _HERE / "questions.jsonl"


def claim_questions_path() -> Path:
    """The file with all bundled questions for claims, one JSON object a line."""
    return _HERE / "claim_questions.jsonl"


def list_questions_path() -> Path:
    """The file with all bundled questions whose several answers are all needed, one JSON object a line."""
    return _HERE / "list_questions.jsonl"


def passages_path() -> Path:
    """The file with the bundled retrieval passages, one JSON object a line."""
    return _HERE / "passages.jsonl"


def paraphrases_path() -> Path:
    """The file with 16 questions and four paraphrases of each, one JSON object a line: for trying SPS, too few to rely on."""
    return _HERE / "paraphrases.jsonl"


def starter_files() -> dict[str, str]:
    """The files that `guardrail init` writes, by name: a policy, placeholder questions and the commands."""
    return {path.name: path.read_text(encoding="utf-8") for path in sorted((_HERE / "starter").iterdir())}


def load_questions(split: Split | None = None) -> list[Question]:
    """The bundled questions in file order, of one split or (by default) of both."""
    questions = [Question(**{**row, "answers": tuple(row["answers"])}) for row in _rows(questions_path(), split)]
    return [question for question in questions if split is None or question.split == split]


def load_claim_questions(split: Split | None = None) -> list[ClaimQuestion]:
    """The bundled questions for claims in file order, of one split or (by default) of both."""
    questions = [ClaimQuestion(**{**row, "facts": tuple(row["facts"])}) for row in _rows(claim_questions_path(), split)]
    return [question for question in questions if split is None or question.split == split]


def load_list_questions(split: Split | None = None) -> list[ListQuestion]:
    """The bundled questions whose answers are all needed in file order, of one split or (by default) of both."""
    return [
        ListQuestion(row["id"], row["kind"], row["question"], tuple(map(tuple, row["answers"])), row["split"])
        for row in _rows(list_questions_path(), split)
        if split is None or row["split"] == split
    ]


def _rows(path: Path, split: str | None) -> Iterator[dict[str, Any]]:
    if split not in (None, "calibration", "heldout"):
        raise ValueError(f"split must be 'calibration', 'heldout' or None, not {split!r}")
    yield from (json.loads(line) for line in path.read_text(encoding="utf-8").splitlines())
