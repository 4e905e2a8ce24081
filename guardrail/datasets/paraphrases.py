"""JSON lines of questions with paraphrases -> checked rows, and back."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from guardrail.data import paraphrases_path
from guardrail.datasets.drawing import check_limit, drawn
from guardrail.datasets.questions import question_digest
from guardrail.datasets.rows import read_rows
from guardrail.datasets.values import checked_text, kind_of
from guardrail.errors import DataError
from guardrail.files import write_whole

_EXAMPLE = '{"question": "Who wrote Faust?", "paraphrases": ["By whom was Faust written?"]}'


@dataclass(frozen=True, slots=True)
class ParaphraseRow:
    """A question and other ways to ask it, all different (`question_digest`). No paraphrases: they are still to be made."""

    question: str
    paraphrases: tuple[str, ...]

    @property
    def texts(self) -> tuple[str, ...]:
        return self.question, *self.paraphrases


def load_paraphrase_rows(
    data: str | os.PathLike[str], limit: int | None = None, *, most: int | None = None, complete: bool = True
) -> list[ParaphraseRow]:
    """Rows of `question` and `paraphrases`, in file order; other keys are passed over. 'bundled': those of guardrail.

    A text that was there before, in this row or another, is left out, and so is a row whose question was: copies would
    pass for perfect paraphrases, or for other questions. limit: so many rows, drawn at random, in every command the same. most:
    keep so many paraphrases of a row, the first ones. complete: every row must have a paraphrase left.

    Raises `DataError` for a bad row, or fewer than two.
    """
    check_limit(limit, 2, "SPS compares questions, so ")
    source = "<stdin>" if os.fspath(data) == "-" else os.fspath(data)
    seen: set[str] = set()
    rows: dict[str, ParaphraseRow] = {}
    for number, row in read_rows(paraphrases_path() if data == "bundled" else data):
        where = f"{source}:{number}"
        if "question" not in row:
            raise DataError(f"{where}: no `question`; a row looks like {_EXAMPLE}")
        question = checked_text(row["question"], "question", where)
        given = row.get("paraphrases", [])
        if not isinstance(given, list):
            raise DataError(f"{where}: `paraphrases` must be a list of strings, not {kind_of(given)}")
        texts = [checked_text(text, "paraphrases", where) for text in given]
        if question_digest(question) in seen:
            continue
        seen.add(question_digest(question))
        found = ParaphraseRow(question, tuple(distinct(texts, seen)[:most]))
        rows[question_digest(question)] = found
        if complete and not found.paraphrases:
            have = "none that was not there before" if texts else "no `paraphrases`"
            raise DataError(
                f"{where}: {have}; write some, such as {_EXAMPLE}, or have them made: --paraphrase-with MODEL"
            )
    if len(rows) < 2:
        raise DataError(f"{source}: {len(rows)} different questions; SPS compares questions, so it takes two or more")
    return drawn(rows, limit)


def distinct(texts: Iterable[str], seen: set[str]) -> list[str]:
    """Those that are not in `seen` (digests), each once; adds them to it."""
    found = []
    for text in texts:
        digest = question_digest(text)
        if digest not in seen:
            seen.add(digest)
            found.append(text)
    return found


def paraphrases_hash(rows: Sequence[ParaphraseRow]) -> str:
    """SHA-256, hex, of questions and paraphrases; the order of either does not matter."""
    lines = sorted(json.dumps([row.question, sorted(row.paraphrases)]) for row in rows)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def save_paraphrase_rows(path: str | os.PathLike[str], rows: Sequence[ParaphraseRow]) -> None:
    """What `load_paraphrase_rows` reads. Raises `DataError` where it cannot be written."""
    lines = (
        json.dumps({"question": row.question, "paraphrases": list(row.paraphrases)}, ensure_ascii=False) for row in rows
    )
    write_whole(path, "".join(f"{line}\n" for line in lines), "the paraphrases", DataError)
