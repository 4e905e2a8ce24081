"""What people say of answers: labels that win over every grader.

A label is about one question and one answer. It counts for every answer that is equal to it in plain form.
"""

from __future__ import annotations

import hashlib
import json
import os
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from guardrail.datasets.questions import QuestionRow, question_digest
from guardrail.datasets.rows import read_rows
from guardrail.datasets.values import Items, as_items, checked_label, checked_text, kind_of
from guardrail.errors import DataError
from guardrail.folding import is_point
from guardrail.plain_text import tokens

_EXAMPLE = '{"question": "What is the capital of France?", "answer": "It is Paris.", "correct": true}'
_KEYS = ("question", "answer", "correct", "accepted", "graders", "note", "items")


@dataclass(frozen=True, slots=True)
class LabelledAnswer:
    """An answer that a person judged. accepted: forms of the question, where the file gives them; items: as in `QuestionRow`.

    picked: whether the row was chosen because graders disagreed on it, so that it stands for no other answers.
    """

    question: str
    answer: str
    correct: bool
    accepted: tuple[str, ...] = ()
    picked: bool = False
    items: Items = ()


class HandLabels:
    """Labels, to be asked by question and answer.

        labels = HandLabels([LabelledAnswer("Capital of France?", "Paris.", True)])
        labels.of("capital of france", "paris")  # True; None for an answer that nobody judged

    Raises `DataError` where one answer is both right and wrong.
    """

    def __init__(self, labels: Iterable[LabelledAnswer] = ()) -> None:
        self._correct: dict[tuple[str, str], bool] = {}
        for label in labels:
            if self._correct.setdefault(self.key(label.question, label.answer), label.correct) != label.correct:
                raise DataError(
                    f"the answer {label.answer[:60]!r} to {label.question[:60]!r} is labelled right and wrong; keep one label"
                )

    def __len__(self) -> int:
        return len(self._correct)

    def of(self, question: str, answer: str) -> bool | None:
        return self._correct.get(self.key(question, answer))

    @staticmethod
    def key(question: str, answer: str) -> tuple[str, str]:
        """Equal for answers that one label speaks of. As `plain_text.tokens`, but one or two letters alone keep their case
        ("Co" is not "CO"), and so does every symbol ("A → B" is not "A ← B"), and every vowel point.
        """
        said = tokens(answer)
        if len(said) == 1 and len(said[0].raw) == 2 and said[0].raw.isupper():
            return question_digest(question), said[0].raw
        symbols = [c for c in answer if (unicodedata.category(c)[0] == "S" and c not in "`^") or is_point(c)]
        return question_digest(question), " ".join([*(token.text for token in said), *symbols])

    @property
    def digest(self) -> str:
        """SHA-256, hex; the order of the labels does not matter."""
        rows = sorted([*key, correct] for key, correct in self._correct.items())
        return hashlib.sha256(json.dumps(rows).encode()).hexdigest()


def labels_in(rows: Iterable[QuestionRow]) -> list[LabelledAnswer]:
    """The `labels` that rows of data carry."""
    return [
        LabelledAnswer(row.question, label["answer"], label["correct"], row.answers, items=row.items)
        for row in rows
        for label in row.extra.get("labels", ())
    ]


def load_hand_labels(path: str | os.PathLike[str]) -> list[LabelledAnswer]:
    """Rows of `question`, `answer`, `correct` and, if known, `accepted`: what `guardrail grade -o` writes, filled in.

    Raises `DataError`, with file and line, for a row that is none, for `correct` that is still null, and for no rows.
    """
    source = "<stdin>" if os.fspath(path) == "-" else os.fspath(path)
    labels = [_labelled(row, f"{source}:{number}") for number, row in read_rows(path)]
    if not labels:
        raise DataError(f"{source}: no labels; write one a line, such as {_EXAMPLE}")
    return labels


def hand_labels(rows: Sequence[QuestionRow], path: str | os.PathLike[str] | None = None) -> HandLabels:
    """The labels that come with rows of data and those of a file, together."""
    return HandLabels([*labels_in(rows), *(load_hand_labels(path) if path is not None else ())])


def _labelled(row: dict[str, Any], where: str) -> LabelledAnswer:
    if unknown := sorted(row.keys() - set(_KEYS)):
        raise DataError(f"{where}: a label has the unknown key {unknown[0]!r}; the keys are {', '.join(_KEYS)}")
    for key in ("question", "answer", "correct"):
        if key not in row:
            raise DataError(f"{where}: no `{key}`; a label looks like {_EXAMPLE}")
    accepted = row.get("accepted", [])
    if not isinstance(accepted, list) or not all(isinstance(form, str) for form in accepted):
        raise DataError(f"{where}: `accepted` must be a list of strings, not {kind_of(accepted)}")
    items = as_items(row.get("items", []), where)
    question, answer = checked_text(row["question"], "question", where), row["answer"]
    return LabelledAnswer(
        question, *checked_label(answer, row["correct"], where), tuple(accepted), "graders" in row, items
    )
