"""CSV, TSV and Parquet files -> rows like those of JSON lines, each with its place.

In CSV and TSV the first row names the columns. A cell of `answers` or `paraphrases` holds texts separated by |, or a JSON
list, or a list of strings as Python and pandas (`['a', 'b']`) or numpy (`['a' 'b']`) print it; another separator is stated in
the column's name: `answers;`. Cells of `labels` are JSON. Every other column is kept as text.
"""

from __future__ import annotations

import ast
import csv
import json
import re
import tokenize
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any

from guardrail.datasets.parquet import PARQUET, is_parquet, read_parquet
from guardrail.errors import DataError
from guardrail.files import read_bytes
from guardrail.json_text import parse

_DELIMITERS = {".csv": ",", ".tsv": "\t"}
TABLES = (*_DELIMITERS, PARQUET)
SEPARATOR = "|"
_LISTS = ("answers", "paraphrases")
_NEEDED = "answers_needed"  # text, and no list with a separator of its own
# lists by another name
_PRINTED = re.compile(r"[({]\s*['\"]|(?:array|list|set|frozenset|tuple|Index|Series)\(\s*[\[({]")
_LIST_EXAMPLE = '["Paris", "City of Paris"]'


def read_table(path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Place (`file:line`, the line where the row begins) and row. Empty cells are left out of a row, and empty rows altogether.

    Quotes, newlines inside quotes, a byte-order mark and CRLF are taken. Raises `DataError` for a file that cannot be read, is
    not UTF-8, has no header, or has a row with more or fewer cells than it. Of a Parquet file see `read_parquet`.
    """
    if is_parquet(path):
        yield from ((f"{path}:{number}", row) for number, row in read_parquet(path))
        return
    reader = csv.reader(
        StringIO(_text(path), newline=""), delimiter=_DELIMITERS[Path(path).suffix.lower()], strict=True
    )
    header: list[tuple[str, str]] | None = None
    while True:
        where = f"{path}:{reader.line_num + 1}"
        try:
            cells = next(reader)
        except StopIteration:
            break
        except csv.Error as error:
            raise DataError(
                f"{where}: {error}; put text with separators, quotes or newlines in quotes, and double the quotes in it"
            ) from error
        if not any(cell.strip() for cell in cells):
            continue
        if header is None:
            header = _header(cells, where)
            continue
        if len(cells) != len(header):
            raise DataError(
                f"{where}: {len(cells)} cells where the header has {len(header)}; put a cell with separators in quotes"
            )
        yield (
            where,
            {
                name: _value(name, separator, cell, where)
                for (name, separator), cell in zip(header, cells, strict=True)
                if cell.strip()
            },
        )


def _text(path: str) -> str:
    try:
        raw = read_bytes(path, most=None)
    except OSError as error:
        raise DataError(f"{path}: cannot read it: {error.strerror}") from error
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise DataError(f"{path}:{line}: not UTF-8; save the file as UTF-8 (in a spreadsheet: 'CSV UTF-8')") from error


def _header(cells: list[str], where: str) -> list[tuple[str, str]]:
    """Names with the separators of their lists."""
    columns: list[tuple[str, str]] = []
    for cell in map(str.strip, cells):
        stem = next(
            (
                name
                for name in _LISTS
                if cell.startswith(name) and not cell[len(name) :].strip().isalnum() and cell != _NEEDED
            ),
            None,
        )
        stated = cell[len(stem) :].strip() if stem else ""
        columns.append((stem or cell, stated or SEPARATOR))
    names = [name for name, _ in columns]
    missing = [name for name in ("question", "answers") if name not in names]
    if missing:
        shown = ", ".join([*(repr(name[:40]) for name in names[:20]), *(["..."] if names[20:] else [])])
        raise DataError(
            f"{where}: the header has no column `{missing[0]}`; its columns are {shown}. The first row "
            "of a table names its columns, such as question,answers (a .csv file has commas, a .tsv file tabs between them)"
        )
    if repeated := next((name for name in names if names.count(name) > 1), None):
        raise DataError(f"{where}: the header has the column {repeated[:40]!r} twice")
    return columns


def _value(name: str, separator: str, cell: str, where: str) -> Any:
    text = cell.strip()
    if name in _LISTS and _PRINTED.match(text):
        raise DataError(_no_list(name, where))
    if name == "labels" or (name in _LISTS and text.startswith("[")):
        try:
            return parse(text)
        except ValueError as error:
            if name in _LISTS and isinstance(error, json.JSONDecodeError):
                return _printed_list(text, _no_list(name, where))
            raise DataError(f"{where}: the cell of `{name}` is not JSON: {error}") from error
    if name in _LISTS:
        return [part.strip() for part in text.split(separator) if part.strip()]
    return cell


def _no_list(name: str, where: str) -> str:
    return (
        f"{where}: the cell of `{name}` is not JSON, and not a list of strings as Python or numpy prints it either; write "
        f"{_LIST_EXAMPLE}, or texts separated by {SEPARATOR}"
    )


def _printed_list(text: str, advice: str) -> list[str]:
    """The strings of a list as Python, pandas or numpy print it. Raises `DataError`, with the advice, for anything else.

    Not by `ast.literal_eval` of the whole: to Python, numpy's `['a' 'b']` is the one string "ab".
    """
    try:
        found = [
            (token.type, token.string)
            for token in tokenize.generate_tokens(StringIO(text).readline)
            if token.type not in (tokenize.NL, tokenize.NEWLINE, tokenize.ENDMARKER)
        ]
        (_, opening), *inner, (_, closing) = found
        if inner and inner[-1][1] == ",":
            inner.pop()
        commas = any(string == "," for _, string in inner)
        strings = inner[::2] if commas else inner
        separators = inner[1::2] if commas else []
        values = [ast.literal_eval(string) for kind, string in strings if kind == tokenize.STRING]
        "".join(values).encode()
    except (tokenize.TokenError, SyntaxError, ValueError, TypeError) as error:  # ValueError: half a surrogate pair, too
        raise DataError(advice) from error
    if (opening, closing) != ("[", "]") or len(values) < len(strings) or any(string != "," for _, string in separators):
        raise DataError(advice)
    return values
