"""CSV and TSV files -> rows like those of JSON lines, each with its place.

The first row names the columns. A cell of `answers` or `paraphrases` holds texts separated by |, or a JSON list; another
separator is stated in the column's name: `answers;`. Cells of `labels` are JSON. Every other column is kept as text.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any

from guardrail.errors import DataError

TABLES = {".csv": ",", ".tsv": "\t"}
SEPARATOR = "|"
_LISTS = ("answers", "paraphrases")


def read_table(path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Place (`file:line`, the line where the row begins) and row. Empty cells are left out of a row, and empty rows altogether.

    Quotes, newlines inside quotes, a byte-order mark and CRLF are taken. Raises `DataError` for a file that cannot be read, is
    not UTF-8, has no header, or has a row with more or fewer cells than it.
    """
    reader = csv.reader(StringIO(_text(path), newline=""), delimiter=TABLES[Path(path).suffix.lower()], strict=True)
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
        raw = Path(path).read_bytes()
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
            (name for name in _LISTS if cell.startswith(name) and not cell[len(name) :].strip().isalnum()), None
        )
        stated = cell[len(stem) :].strip() if stem else ""
        columns.append((stem or cell, stated or SEPARATOR))
    names = [name for name, _ in columns]
    missing = [name for name in ("question", "answers") if name not in names]
    if missing:
        raise DataError(
            f"{where}: the header has no column `{missing[0]}`; its columns are {', '.join(map(repr, names))}. The first row "
            "of a table names its columns, such as question,answers (a .csv file has commas, a .tsv file tabs between them)"
        )
    if repeated := next((name for name in names if names.count(name) > 1), None):
        raise DataError(f"{where}: the header has the column {repeated!r} twice")
    return columns


def _value(name: str, separator: str, cell: str, where: str) -> Any:
    text = cell.strip()
    if name == "labels" or (name in _LISTS and text.startswith("[")):
        try:
            return json.loads(text)
        except (ValueError, RecursionError) as error:
            raise DataError(f"{where}: the cell of `{name}` is not JSON: {error}") from error
    if name in _LISTS:
        return [part.strip() for part in text.split(separator) if part.strip()]
    return cell
