"""JSON-lines files -> rows with line numbers; questions with accepted answers; hashes of them.

Knows nothing about models, graders or calibration. Every error is a `DataError` that opens with `file:line:`.
"""

import hashlib
import json
import math
import os
import sys
import unicodedata
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from guardrail.data import Split, load_questions
from guardrail.errors import DataError

_BOM = b"\xef\xbb\xbf"
_DIGEST = 16  # hex digits: 64 bits, no collision in any file that a person could grade
_EXAMPLE = '{"question": "What is the capital of France?", "answers": ["Paris"]}'


@dataclass(frozen=True, slots=True)
class QuestionRow:
    """A question and the answers that count as right.

    extra: the row's other keys (id, kind, split, ...), kept for the caller; they take no part in equality or hashes.
    """

    question: str
    answers: tuple[str, ...]
    extra: Mapping[str, Any] = field(default_factory=dict, compare=False)


def numbered_lines(path: str | os.PathLike[str]) -> Iterator[tuple[int, bytes, str]]:
    """Line number from 1, content and place (`file:line`) of every line that is not blank; `-` is standard input.

    A byte-order mark is dropped. Raises `DataError` for a file that cannot be read.
    """
    name = os.fspath(path)
    source = "<stdin>" if name == "-" else name
    try:
        # nullcontext: standard input is not ours to close
        with nullcontext(sys.stdin.buffer) if name == "-" else Path(name).open("rb") as file:
            for number, raw in enumerate(file, start=1):
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


def load_questions_from(data: str, split: Split, limit: int | None = None) -> list[QuestionRow]:
    """`bundled` means that split of the bundled questions; anything else is a file, or `-` for standard input."""
    if data != "bundled":
        return load_question_rows(data, limit)
    rows = [QuestionRow(q.question, q.answers, {"id": q.id, "kind": q.kind}) for q in load_questions(split)]
    return rows[:limit]


def load_question_rows(path: str | os.PathLike[str], limit: int | None = None) -> list[QuestionRow]:
    """Rows of `question` and `answers`, in file order; a question that comes again (`question_digest`) is left out.

    limit: stop after so many rows. Raises `DataError` for a bad row, or when there is none.
    """
    if limit is not None and limit < 1:
        raise DataError(f"a limit must be at least 1, not {limit}")
    source = "<stdin>" if os.fspath(path) == "-" else os.fspath(path)
    rows: dict[str, QuestionRow] = {}
    for number, row in read_jsonl(path):
        parsed = _question_row(row, f"{source}:{number}")
        rows.setdefault(question_digest(parsed.question), parsed)
        if len(rows) == limit:
            break
    if not rows:
        raise DataError(f"{source}: no rows; write one a line, such as {_EXAMPLE}")
    return list(rows.values())


def question_digest(question: str) -> str:
    """16 hex digits of SHA-256 that name a question; case, white space and end punctuation do not matter."""
    plain = " ".join(unicodedata.normalize("NFKC", question).casefold().split()).rstrip(" ?!.")
    return hashlib.sha256(plain.encode()).hexdigest()[:_DIGEST]


def data_hash(rows: Iterable[QuestionRow]) -> str:
    """SHA-256, hex, of questions and accepted answers; other keys and the order of rows and answers do not matter."""
    lines = sorted(json.dumps([row.question, sorted(row.answers)]) for row in rows)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def check_no_leak(calibration_digests: Collection[str], questions: Iterable[str]) -> None:
    """Raise `DataError` when a question is one that a calibrator was fitted on (given by `question_digest`)."""
    seen = frozenset(calibration_digests)
    leaked = [question for question in questions if question_digest(question) in seen]
    if leaked:
        raise DataError(
            f"{len(leaked)} of these questions were used for calibration, the first is {leaked[0]!r}; "
            "remove them, since an evaluation on fitted questions flatters"
        )


def parse_object(line: bytes, where: str) -> dict[str, Any]:
    """One line's JSON object; `where` opens every message.

    Raises `DataError` for invalid UTF-8 or JSON, NaN, infinities, half a surrogate pair, and anything but an object.
    """
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError as e:
        raise DataError(f"{where}: not UTF-8 (byte {e.start + 1} of the line); save the file as UTF-8") from e
    try:
        row = json.loads(text, parse_constant=_refuse, parse_float=_finite_float)
        if "\\ud" in text.lower():
            json.dumps(
                row, ensure_ascii=False
            ).encode()  # half a surrogate pair has no UTF-8 form: fail here, not at output
    except json.JSONDecodeError as e:
        raise DataError(f"{where}: not JSON: {e.msg} at column {e.colno}; write one object a line") from e
    except UnicodeEncodeError as e:
        raise DataError(f"{where}: a \\ud... escape is half of a surrogate pair; write the character itself") from e
    except (ValueError, RecursionError) as e:  # our own refusals, an integer of thousands of digits, or endless nesting
        raise DataError(f"{where}: not JSON that can be used: {e}") from e
    if not isinstance(row, dict):
        raise DataError(f"{where}: a row must be an object in braces, not {kind_of(row)}")
    return row


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not a JSON number; write null or leave the key out")


def _finite_float(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise ValueError(f"the number {digits} is too large")
    return value


def _question_row(row: dict[str, Any], where: str) -> QuestionRow:
    for key in ("question", "answers"):
        if key not in row:
            raise DataError(f"{where}: no `{key}`; a row looks like {_EXAMPLE}")
    question, answers = checked_text(row["question"], "question", where), row["answers"]
    if not isinstance(answers, list):
        raise DataError(f'{where}: `answers` must be a list of strings, such as ["Paris"], not {kind_of(answers)}')
    if not answers:
        raise DataError(f"{where}: `answers` is empty; list at least one accepted answer, or remove the row")
    for answer in answers:
        if not isinstance(answer, str):
            raise DataError(f"{where}: `answers` holds {kind_of(answer)}; put it in quotes")
        if not any(c.isalnum() for c in answer):
            raise DataError(f"{where}: the accepted answer {answer!r} has no letter or digit, so nothing can match it")
    extra = {key: value for key, value in row.items() if key not in ("question", "answers")}
    return QuestionRow(question, tuple(answers), extra)


def checked_text(value: object, key: str, where: str) -> str:
    """A string that is not blank; `key` names it in the message."""
    if not isinstance(value, str):
        raise DataError(f"{where}: `{key}` must be a string, not {kind_of(value)}")
    if not value.strip():
        raise DataError(f"{where}: `{key}` is empty; write it, or remove the row")
    return value


def kind_of(value: object) -> str:
    """What a JSON value is, in words."""
    if value is None:
        return "null"
    names = {bool: "a boolean", int: "a number", float: "a number", str: "a string", list: "a list", dict: "an object"}
    return names[type(value)]
