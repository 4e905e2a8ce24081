"""Files and data sets -> questions with accepted answers; hashes of them; which were seen before.

Every error about a row is a `DataError` that opens with `file:line:`.
"""

import hashlib
import json
import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import Any

from pydantic import JsonValue

from guardrail.data import Split, load_list_questions, load_questions
from guardrail.datasets.drawing import check_limit, drawn
from guardrail.datasets.hub import HUB_PREFIX, read_hub
from guardrail.datasets.tables import TABLES, read_table
from guardrail.datasets.values import EXAMPLE, Items, accepted_answers, checked_label, checked_text, kind_of
from guardrail.errors import DataError
from guardrail.files import open_file, read_lines, standard_input
from guardrail.folding import normalised, spelt_out
from guardrail.json_text import parse
from guardrail.messages import as_messages
from guardrail.plain_text import normalise
from guardrail.types import Message

_BOM = b"\xef\xbb\xbf"
_SIGNS = re.compile(r"[^\w\s.,;:!?'\"()\[\]{}…–—‘’“”«»*`&%-]|(?<=\s)[-*](?=\s)|(?<=\d)[-*](?=\d)")
_DIGEST = 16  # hex digits: 64 bits, no collision in any file that a person could grade


@dataclass(frozen=True, slots=True)
class QuestionRow:
    """A question and the answers that count as right.

    extra: the row's other keys (id, kind, split, ...), kept for the caller; they take no part in equality or hashes. Two of
    them mean something: `paraphrases`, other wordings of the question, and `labels`, answers that a person judged.

    items: where several answers are all needed, the forms of each; `answers` has the forms of all of them. Empty where any one
    of `answers` is enough.
    """

    question: str
    answers: tuple[str, ...]
    extra: Mapping[str, Any] = field(default_factory=dict, compare=False)
    items: Items = ()

    @property
    def record(self) -> dict[str, Any]:
        """What a run keeps of the row: `question`, `accepted`, and `items` where there are some."""
        told = {"question": self.question, "accepted": list(self.answers)}
        return {**told, "items": [list(item) for item in self.items]} if self.items else told

    @property
    def written(self) -> dict[str, Any]:
        """The row as a file of questions has it."""
        items = {"answers": [list(item) for item in self.items], "answers_needed": "all"} if self.items else {}
        return {"question": self.question, "answers": list(self.answers), **items, **self.extra}


def numbered_lines(path: str | os.PathLike[str]) -> Iterator[tuple[int, bytes, str]]:
    """Line number from 1, content and place (`file:line`) of every line that is not blank; `-` is standard input.

    A byte-order mark is dropped. Raises `DataError` for a file that cannot be read.
    """
    name = os.fspath(path)
    source = "<stdin>" if name == "-" else name
    try:
        # nullcontext: standard input is not ours to close
        with nullcontext(standard_input()) if name == "-" else open_file(name) as file:
            for number, raw in enumerate(read_lines(file), start=1):
                line = raw.removeprefix(_BOM) if number == 1 else raw
                if line.strip():
                    yield number, line, f"{source}:{number}"
    except OSError as e:
        raise DataError(f"{source}: cannot read it: {e.strerror}") from e


def read_jsonl(path: str | os.PathLike[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    """The objects of a file, one a line, with their line numbers from 1; `-` is standard input.

    Blank lines, a byte-order mark and CRLF are accepted. Raises `DataError` for a file that cannot be read and, when
    its line is reached, for what `parse_object` refuses.
    """
    for number, line, where in numbered_lines(path):
        yield number, parse_object(line, where)


@dataclass(frozen=True, slots=True)
class QuestionData:
    """Questions from one place. source: which place, as JSON, for whoever asks later. repeated: rows that were left out because
    their question came before.
    """

    rows: tuple[QuestionRow, ...]
    source: dict[str, JsonValue]
    repeated: int = 0


def load_data(data: str, split: Split, limit: int | None = None, *, conversations: bool = False) -> QuestionData:
    """Questions from `data`: a .jsonl, .csv, .tsv or .parquet file, `-` for JSON lines on standard input, a data set of the hub
    (`hub:NAME@SPLIT`), or `bundled` for `split` of the bundled questions, `bundled-lists` of those whose several
    answers are all needed.

    A question that comes again (`question_digest`) is counted and left out; its labels stay, and so do its answers: what any of
    its rows accepts is accepted. limit: so many questions, drawn at random, in every command the same (`drawn`).
    conversations: rows may have `messages` of any kind in place of a question, which is then all of their text.

    Raises `DataError` for a bad row, or when there is none.
    """
    check_limit(limit)
    if data == "bundled":
        rows = {
            question_digest(q.question): QuestionRow(
                q.question, q.answers, {"id": q.id, "kind": q.kind, "group": q.group}
            )
            for q in load_questions(split)
        }
        return QuestionData(tuple(drawn(rows, limit)), {"kind": "bundled", "split": split})
    if data == "bundled-lists":
        listed = {
            question_digest(q.question): QuestionRow(
                q.question, tuple(chain(*q.answers)), {"id": q.id, "kind": q.kind}, q.answers
            )
            for q in load_list_questions(split)
        }
        return QuestionData(tuple(drawn(listed, limit)), {"kind": "bundled-lists", "split": split})
    if data.startswith(HUB_PREFIX):
        found, source = read_hub(data)
        return _distinct(found, source, data, limit, conversations)
    if Path(data).suffix.lower() in TABLES:
        return _distinct(read_table(data), {"kind": "file", "name": Path(data).name}, data, limit, conversations)
    name = "<stdin>" if data == "-" else data
    numbered = ((f"{name}:{number}", row) for number, row in read_jsonl(data))
    return _distinct(numbered, {"kind": "file", "name": Path(name).name}, name, limit, conversations)


def _distinct(
    placed: Iterable[tuple[str, dict[str, Any]]],
    source: dict[str, JsonValue],
    name: str,
    limit: int | None,
    conversations: bool,
) -> QuestionData:
    rows: dict[str, QuestionRow] = {}
    repeated = 0
    for where, row in placed:
        parsed = _question_row(_as_question(row, where) if conversations else row, where)
        digest = question_digest(parsed.question)
        before = rows.get(digest)
        if before is None:
            rows[digest] = parsed
        else:
            repeated += 1
            if before.items != parsed.items:
                raise DataError(
                    f"{where}: the question {parsed.question!r} came before with other answers that are all needed; "
                    "keep one row"
                )
            before = replace(before, answers=tuple(dict.fromkeys([*before.answers, *parsed.answers])))
            rows[digest] = before
            if labels := [*before.extra.get("labels", ()), *parsed.extra.get("labels", ())]:
                rows[digest] = replace(before, extra={**before.extra, "labels": labels})
    if not rows:
        raise DataError(f"{name}: no rows; write one a line, such as {EXAMPLE}")
    return QuestionData(tuple(drawn(rows, limit)), source, repeated)


def load_questions_from(data: str, split: Split, limit: int | None = None) -> list[QuestionRow]:
    """The rows of `load_data`."""
    return list(load_data(data, split, limit).rows)


def load_question_rows(path: str | os.PathLike[str], limit: int | None = None) -> list[QuestionRow]:
    """The rows of `load_data` for a file."""
    return load_questions_from(os.fspath(path), "calibration", limit)


def question_digest(question: str) -> str:
    """16 hex digits of SHA-256 that name a question; case, white space and end punctuation do not matter. 10⁶ is not 106."""
    plain = " ".join(spelt_out(question).casefold().split()).rstrip(" ?!.")
    return hashlib.sha256(plain.encode()).hexdigest()[:_DIGEST]


def data_hash(rows: Iterable[QuestionRow]) -> str:
    """SHA-256, hex, of questions and accepted answers; other keys and the order of rows and answers do not matter."""
    lines = sorted(
        json.dumps([row.question, sorted(row.answers), *([sorted(map(sorted, row.items))] if row.items else [])])
        for row in rows
    )
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def texts_of(rows: Iterable[QuestionRow]) -> list[str]:
    """Every wording of every question: itself and its `paraphrases`."""
    return [text for row in rows for text in (row.question, *row.extra.get("paraphrases", ()))]


def leak_digests(questions: Iterable[str]) -> tuple[str, ...]:
    """By which `was_seen` knows questions again: of each its `question_digest` and that of its plain form, in which articles,
    accents, punctuation and number words do not matter either."""
    return tuple(dict.fromkeys(digest for question in questions for digest in _digests(question)))


def check_no_leak(calibration_digests: Collection[str], questions: Iterable[str]) -> None:
    """Raise `DataError` when a question, or one that differs from it in form alone, is one that a calibrator was fitted on.

    calibration_digests: of `leak_digests`. questions: of `texts_of`, so that paraphrases are found too.
    """
    seen = frozenset(calibration_digests)
    leaked = [question for question in questions if was_seen(seen, question)]
    if leaked:
        raise DataError(
            f"{len(leaked)} of these questions were used for calibration, or to teach the model its confidence; the first is "
            f"{leaked[0]!r}; remove them, since an evaluation on fitted questions flatters"
        )


def was_seen(digests: Collection[str], question: str) -> bool:
    """Whether a question, or one that differs from it in form alone, is among those of `leak_digests`."""
    return any(digest in digests for digest in _digests(question))


def near_digest(question: str) -> str:
    """The digest of a question's plain form, with the signs that change what is asked ("7 + 2", "7 - 2"): near-duplicates have
    the same."""
    signs = _SIGNS.findall(normalised("NFKC", question).replace("−", "-"))
    return question_digest(" ".join([normalise(question), *signs]))


def _digests(question: str) -> tuple[str, str]:
    return question_digest(question), near_digest(question)


def parse_object(line: bytes, where: str) -> dict[str, Any]:
    """One line's JSON object; `where` opens every message.

    Raises `DataError` for invalid UTF-8, what `guardrail.json_text.parse` refuses, and anything but an object.
    """
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError as e:
        raise DataError(f"{where}: not UTF-8 (byte {e.start + 1} of the line); save the file as UTF-8") from e
    try:
        row = parse(text)
    except json.JSONDecodeError as e:
        raise DataError(f"{where}: not JSON: {e.msg} at column {e.colno}; write one object a line") from e
    except ValueError as e:
        raise DataError(f"{where}: not JSON that can be used: {e}") from e
    if not isinstance(row, dict):
        raise DataError(f"{where}: a row must be an object in braces, not {kind_of(row)}")
    return row


def _question_row(row: dict[str, Any], where: str) -> QuestionRow:
    if "question" not in row and row.get("messages") is not None:
        row = {**row, "question": _only_question(row["messages"], where)}
    for key in ("question", "answers"):
        if key not in row:
            raise DataError(f"{where}: no `{key}`; a row looks like {EXAMPLE}")
    question, (answers, items) = checked_text(row["question"], "question", where), accepted_answers(row, where)
    for paraphrase in _list(row, "paraphrases", "strings", where):
        checked_text(paraphrase, "paraphrases", where)
    for label in _list(row, "labels", "labelled answers", where):
        if not isinstance(label, dict) or label.keys() != {"answer", "correct"}:
            raise DataError(f'{where}: a label in `labels` looks like {{"answer": "It is Paris.", "correct": true}}')
        checked_label(label["answer"], label["correct"], where)
    extra = {key: value for key, value in row.items() if key not in ("question", "answers", "answers_needed")}
    return QuestionRow(question, answers, extra, items)


def _as_question(row: dict[str, Any], where: str) -> dict[str, Any]:
    """A row of `messages` with what is said in them as its question: its last one alone may be that of many rows."""
    if row.get("messages") is None:
        return row
    asked = _conversation(row["messages"], where)
    if not asked or asked[-1]["role"] != "user":
        raise DataError(f"{where}: `messages` must end with one of the user, which is what is to be answered")
    alone = len(asked) == 1
    text = "\n".join(str(m["content"]) if alone else f"{m['role']}: {m['content']}" for m in asked)
    return {**row, "question": text, "messages": [dict(message) for message in asked]}


def _conversation(messages: Any, where: str) -> tuple[Message, ...]:
    try:
        return as_messages(messages) if isinstance(messages, list) else ()
    except DataError as error:
        raise DataError(f"{where}: {error}") from error


def _only_question(messages: Any, where: str) -> str:
    """The question of a conversation that is nothing but one."""
    asked = _conversation(messages, where)
    if len(asked) != 1 or asked[0]["role"] != "user":
        raise DataError(
            f"{where}: `messages` must be one message of the user here, since every question goes into one prompt; write it as "
            "`question`, and give --system for a system message"
        )
    return str(asked[0]["content"])


def _list(row: Mapping[str, Any], key: str, of: str, where: str) -> list[Any]:
    value = row.get(key, [])
    if not isinstance(value, list):
        raise DataError(f"{where}: `{key}` must be a list of {of}, not {kind_of(value)}")
    return value
