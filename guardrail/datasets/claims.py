"""JSON-lines or Parquet files -> questions with facts, or answers with labelled claims.

A row is written by hand in one of these ways (every error is a `DataError` that opens with `file:line:`):

    {"question": "What are the capital and the currency of France?",
     "facts": [{"about": ["capital"], "values": ["Paris"]}, {"about": ["currency"], "values": ["euro"]}]}
    {"question": "Tell me about Paris.", "facts": ["Paris is the capital of France.", "Paris lies on the Seine."]}
    {"question": "Tell me about Paris.", "answer": "Paris is the capital of France. It lies on the Rhine.",
     "claims": [{"text": "Paris is the capital of France.", "correct": true}, {"start": 32, "end": 53, "correct": false}]}

Without `answer` the model is asked; with it, that answer is scored. A row may have facts and labels: where both speak of one
claim, the label wins.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from guardrail.data import Split, load_claim_questions
from guardrail.datasets.drawing import check_limit, drawn
from guardrail.datasets.questions import question_digest
from guardrail.datasets.rows import read_rows
from guardrail.datasets.values import checked_text, kind_of
from guardrail.errors import DataError
from guardrail.folding import spelt_out

_EXAMPLE = '{"question": "What is the capital of France?", "facts": [{"about": ["capital"], "values": ["Paris"]}]}'
_KEYS = ("question", "facts", "answer", "claims", "id", "kind", "group", "split")
_FACT_KEYS = ("about", "values", "statements")


@dataclass(frozen=True, slots=True)
class Fact:
    """One thing that an answer may state, and what is accepted.

    about: words or phrases of which a claim about it holds one, such as `("capital",)`. values: accepted forms of what the
    claim says of it. statements: whole sentences that are accepted, in these words; without `about` nothing else is then
    judged by them, so that they only ever make a claim right.
    """

    about: tuple[str, ...] = ()
    values: tuple[str, ...] = ()
    statements: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Label:
    """A person's judgement: `answer[start:end]` is right or wrong."""

    start: int
    end: int
    correct: bool


@dataclass(frozen=True, slots=True)
class ClaimRow:
    """A question with what is known about it. answer: the text to score; None asks the model. labels: of parts of `answer`.

    extra: the row's other keys (id, kind, group, split); they take no part in equality or hashes.
    """

    question: str
    facts: tuple[Fact, ...] = ()
    answer: str | None = None
    labels: tuple[Label, ...] = ()
    extra: Mapping[str, Any] = field(default_factory=dict, compare=False)

    def label_of(self, start: int, end: int) -> bool | None:
        """What the labels that overlap `answer[start:end]` say: right if all are, None where there is none."""
        said = [label.correct for label in self.labels if label.start < end and start < label.end]
        return all(said) if said else None


def load_claim_rows_from(data: str, split: Split, limit: int | None = None) -> list[ClaimRow]:
    """`bundled` means that split of the bundled questions for claims; anything else is a file, or `-` for standard input."""
    if data != "bundled":
        return load_claim_rows(data, limit)
    check_limit(limit)
    facts = "claim_questions.jsonl"
    rows = [
        ClaimRow(q.question, tuple(_fact(f, facts) for f in q.facts), extra={"id": q.id, "kind": q.kind})
        for q in load_claim_questions(split)
    ]
    return drawn({row_digest(row): row for row in rows}, limit)


def load_claim_rows(path: str | os.PathLike[str], limit: int | None = None) -> list[ClaimRow]:
    """Rows in file order; a row that comes again (question and answer) is left out.

    limit: so many, drawn at random, in every command the same. Raises `DataError` for a bad row, for one question with two
    sets of facts, or when there is no row.
    """
    check_limit(limit)
    source = "<stdin>" if os.fspath(path) == "-" else os.fspath(path)
    rows: dict[str, ClaimRow] = {}
    for number, row in read_rows(path):
        where = f"{source}:{number}"
        parsed = _claim_row(row, where)
        before = rows.setdefault(row_digest(parsed), parsed)
        if before != parsed:
            raise DataError(
                f"{where}: the question {parsed.question!r} came before with other facts or labels; join the rows"
            )
    if not rows:
        raise DataError(f"{source}: no rows; write one a line, such as {_EXAMPLE}")
    return drawn(rows, limit)


def row_digest(row: ClaimRow) -> str:
    """Names a row in a run file: its question's digest, and its answer's where it has one."""
    answer = "" if row.answer is None else "-" + hashlib.sha256(row.answer.encode()).hexdigest()[:16]
    return question_digest(row.question) + answer


def claim_data_hash(rows: Iterable[ClaimRow]) -> str:
    """SHA-256, hex, of questions, facts, answers and labels; other keys and the order of rows do not matter."""
    lines = sorted(
        json.dumps(
            [
                row.question,
                sorted([sorted(f.about), sorted(f.values), sorted(f.statements)] for f in row.facts),
                row.answer,
                sorted([label.start, label.end, label.correct] for label in row.labels),
            ]
        )
        for row in rows
    )
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _claim_row(row: dict[str, Any], where: str) -> ClaimRow:
    _known(row, _KEYS, "the row", where)
    if "question" not in row:
        raise DataError(f"{where}: no `question`; a row looks like {_EXAMPLE}")
    question = checked_text(row["question"], "question", where)
    answer = checked_text(row["answer"], "answer", where) if "answer" in row else None
    if "facts" not in row and "claims" not in row:
        raise DataError(f"{where}: neither `facts` nor `claims`; a row looks like {_EXAMPLE}")
    if "claims" in row and answer is None:
        raise DataError(f"{where}: `claims` without the `answer` that they are parts of; add it")
    facts = tuple(_fact(f, where) for f in _list(row, "facts", where)) if "facts" in row else ()
    labels: tuple[Label, ...] = ()
    if answer is not None and "claims" in row:
        labels = tuple(_label(c, answer, where) for c in _list(row, "claims", where))
    extra = {key: value for key, value in row.items() if key not in ("question", "facts", "answer", "claims")}
    return ClaimRow(question, facts, answer, labels, extra)


def _fact(value: Any, where: str) -> Fact:
    if isinstance(value, str):
        return Fact(statements=(_wordy(value, "the accepted statement", where),))
    if not isinstance(value, dict):
        raise DataError(
            f"{where}: `facts` holds {kind_of(value)}; write a sentence, or an object such as in {_EXAMPLE}"
        )
    _known(value, _FACT_KEYS, "a fact", where)
    parts = {}
    for key in _FACT_KEYS:
        items = _list(value, key, where) if key in value else []
        parts[key] = tuple(_wordy(item, f"`{key}`", where) for item in items)
    if not parts["values"] and not parts["statements"]:
        raise DataError(f"{where}: a fact without `values` (accepted forms) or `statements`; nothing could be right")
    if parts["values"] and not parts["about"]:
        raise DataError(
            f'{where}: a fact with the values {list(parts["values"])} does not say what it is about; add "about": words '
            "of which a claim about it holds one"
        )
    return Fact(**parts)


def _label(value: Any, answer: str, where: str) -> Label:
    if not isinstance(value, dict):
        raise DataError(f"{where}: `claims` holds {kind_of(value)}; write objects with `text` and `correct`")
    _known(value, ("text", "start", "end", "correct"), "a claim", where)
    correct = value.get("correct")
    if not isinstance(correct, bool):
        raise DataError(f"{where}: `correct` of a claim must be true or false, not {kind_of(correct)}")
    if ("text" in value) == ("start" in value or "end" in value):
        raise DataError(f"{where}: a claim has either `text` or `start` and `end`, its characters in the answer")
    if "text" in value:
        text = checked_text(value["text"], "text", where)
        if (times := answer.count(text)) != 1:
            raise DataError(
                f"{where}: the claim {text!r} stands {times} times in the answer; "
                + ("copy it from there" if times == 0 else "give `start` and `end` instead")
            )
        return Label(answer.index(text), answer.index(text) + len(text), correct)
    start, end = value.get("start"), value.get("end")
    if type(start) is not int or type(end) is not int or not 0 <= start < end <= len(answer):
        raise DataError(
            f"{where}: a claim from {start} to {end} is no part of an answer of {len(answer)} characters; "
            "give 0 <= start < end, in characters"
        )
    return Label(start, end, correct)


def _known(row: Mapping[str, Any], keys: tuple[str, ...], what: str, where: str) -> None:
    if unknown := sorted(row.keys() - set(keys)):
        raise DataError(f"{where}: {what} has the unknown key {unknown[0]!r}; the keys are {', '.join(keys)}")


def _list(row: Mapping[str, Any], key: str, where: str) -> list[Any]:
    value = row[key]
    if not isinstance(value, list) or not value:
        raise DataError(
            f"{where}: `{key}` must be a list that is not empty, not {kind_of(value) if value != [] else '[]'}"
        )
    return value


def _wordy(value: Any, what: str, where: str) -> str:
    if not isinstance(value, str):
        raise DataError(f"{where}: {what} holds {kind_of(value)}; put it in quotes")
    if not any(c.isalnum() for c in spelt_out(value)):
        raise DataError(f"{where}: {what} {value!r} has no letter or digit, so nothing can match it")
    return value
