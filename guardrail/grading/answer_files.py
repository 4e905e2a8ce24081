"""Runs, labelled answers, data with labels -> rows to grade, and what people say of them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from guardrail.datasets.questions import load_data, numbered_lines, parse_object
from guardrail.datasets.rows import read_rows
from guardrail.datasets.values import as_items
from guardrail.errors import DataError
from guardrail.grading.hand_labels import HandLabels, LabelledAnswer, labels_in, load_hand_labels
from guardrail.grading.protocol import AnswerRow, Grade

_RUN = "guardrail run"


@dataclass(frozen=True, slots=True)
class AnswerFile:
    """Answers in file order. labels: of people, that came with them. picked: whether some of the labelled ones were chosen
    because graders disagreed.
    """

    rows: tuple[AnswerRow, ...]
    labels: tuple[LabelledAnswer, ...] = ()

    @property
    def picked(self) -> bool:
        return any(label.picked for label in self.labels)


def load_answers(path: str) -> AnswerFile:
    """A run of whole answers, or a file of labelled answers: rows of `question`, `accepted`, `answer`, `correct`, or rows of
    data with `labels`.

    Raises `DataError` for a run of claims, a run whose records do not hold their questions, and labels without accepted forms.
    """
    first = next((row for _, row in read_rows(path)), None)
    if first is None:
        raise DataError(f"{path}: no rows; give a run, or a file of labelled answers")
    if first.get("kind") == _RUN:
        return AnswerFile(tuple(_run_rows(path, first)))
    if "answers" in first or "labels" in first:
        labels = labels_in(load_data(path, "calibration").rows)
        if not labels:
            raise DataError(
                f"{path}: no row has `labels`, so there are no answers to grade; give a run, or labelled answers"
            )
    else:
        labels = load_hand_labels(path)
    if bare := next((label for label in labels if not label.accepted), None):
        raise DataError(
            f"{path}: the label of {bare.answer[:60]!r} has no `accepted` forms to grade by; add them, or give the run of "
            "these answers and this file with --labels"
        )
    return AnswerFile(tuple(AnswerRow(x.question, x.answer, x.accepted, x.items) for x in labels), tuple(labels))


def _run_rows(path: str, header: Mapping[str, Any]) -> list[AnswerRow]:
    if header.get("unit") == "claim":
        raise DataError(f"{path} is a run of claims, which are graded by their facts; give a run of whole answers")
    rows: list[AnswerRow] = []
    for number, (_, line, where) in enumerate(numbered_lines(path)):
        if number == 0 or not line.endswith(b"\n"):  # the header, and what a killed run left of its last line
            continue
        record = parse_object(line, where)
        question, answer, accepted = (record.get(key) for key in ("question", "answer", "accepted"))
        if not isinstance(question, str) or not isinstance(accepted, list):
            raise DataError(
                f"{where}: the record does not hold its question and accepted answers, as runs of this version do; run it again"
            )
        if not isinstance(answer, str) or not all(isinstance(form, str) for form in accepted):
            raise DataError(f"{where}: `answer` and `accepted` must be text; the run was edited")
        rows.append(AnswerRow(question, answer, tuple(accepted), as_items(record.get("items", []), where)))
    if not rows:
        raise DataError(f"{path}: the run holds no answers yet")
    return rows


def disagreements(grades: Mapping[str, Sequence[Grade]]) -> list[int]:
    """Indices of answers that not all graders grade the same."""
    return [i for i, said in enumerate(zip(*grades.values(), strict=True)) if len(set(said)) > 1]


def to_label(
    rows: Sequence[AnswerRow], indices: Sequence[int], grades: Mapping[str, Sequence[Grade]], known: HandLabels
) -> str:
    """JSON lines for a person to fill in: `correct` is null. Each answer once; those that `known` has are left out."""
    lines: list[str] = []
    asked: set[tuple[str, str]] = set()
    for i in indices:
        row = rows[i]
        key = HandLabels.key(row.question, row.answer)
        if key in asked or known.of(row.question, row.answer) is not None:
            continue
        asked.add(key)
        said = {name: grades_[i] for name, grades_ in grades.items()}
        lines.append(
            json.dumps(
                {
                    "question": row.question,
                    "accepted": list(row.accepted),
                    **({"items": [list(item) for item in row.items]} if row.items else {}),
                    "answer": row.answer,
                    "correct": None,
                    "graders": said,
                },
                ensure_ascii=False,
            )
            + "\n"
        )
    return "".join(lines)
