"""Parquet files -> rows like those of JSON lines, and back. Needs the package pyarrow.

A table has every column in every row: a null means that the row has no such key, in objects within it, too.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from datetime import date, datetime, time
from decimal import Decimal
from itertools import islice
from pathlib import Path
from typing import Any

from guardrail.errors import DataError, MissingExtraError
from guardrail.files import open_file, read_lines
from guardrail.json_text import parse

PARQUET = ".parquet"
_AT_ONCE = 1000  # rows in memory together


def is_parquet(path: str | os.PathLike[str]) -> bool:
    return Path(path).suffix.lower() == PARQUET


def check_parquet() -> None:
    """Raise `MissingExtraError` without pyarrow, before the slow part."""
    _library()


def read_parquet(path: str | os.PathLike[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    """The rows of a file with their numbers from 1. Dates and decimals come as text.

    Raises `MissingExtraError` without pyarrow, and `DataError` for a file that cannot be read, and for bytes, NaN and
    infinities, which JSON has no form for.
    """
    arrow, parquet = _library()
    name, number = os.fspath(path), 0
    try:
        with open_file(name) as stream, parquet.ParquetFile(stream) as file:
            for batch in file.iter_batches(_AT_ONCE):
                for row in batch.to_pylist():
                    number += 1
                    yield number, _plain(row, f"{name}:{number}")
    except OSError as error:
        raise DataError(f"{name}: cannot read it: {error.strerror or error}") from error
    except arrow.ArrowException as error:
        raise DataError(f"{name}: no Parquet file that can be read: {' '.join(str(error).split())[:200]}") from error


def write_parquet(lines: Path, target: Path) -> None:
    """Rows of a file of JSON lines, as a Parquet file that appears under its name when it is complete.

    Raises `DataError` for rows that no table can hold: a column of two kinds, or an object without keys.
    """
    arrow, parquet = _library()
    made = target.with_name(f"{target.name}.table")
    try:
        schemas = [_table(arrow, rows).schema for rows in _groups(lines)]
        # a key that only some rows have is null in the others
        schema = arrow.unify_schemas(schemas, promote_options="permissive") if schemas else arrow.schema([])
        with parquet.ParquetWriter(made, schema) as writer:
            for rows in _groups(lines):
                writer.write_table(arrow.Table.from_pylist(rows, schema=schema))
        with made.open("rb") as file:
            os.fsync(file.fileno())
        made.replace(target)
    except arrow.ArrowException as error:
        made.unlink(missing_ok=True)
        raise DataError(
            f"these rows make no table ({' '.join(str(error).split())[:200]}): each column has one type in Parquet. The rows "
            f"are in {str(lines)!r}; give an output that ends in .jsonl"
        ) from error
    except OSError:
        made.unlink(missing_ok=True)
        raise


def _table(arrow: Any, rows: list[dict[str, Any]]) -> Any:
    """With the keys of all rows; `from_pylist` looks at those of the first."""
    keys = dict.fromkeys(key for row in rows for key in row)
    return arrow.table({key: [row.get(key) for row in rows] for key in keys})


def _groups(lines: Path) -> Iterator[list[dict[str, Any]]]:
    with open_file(os.fspath(lines)) as file:
        rows = (parse(line.decode()) for line in read_lines(file))
        while group := list(islice(rows, _AT_ONCE)):
            yield group


def _plain(row: dict[str, Any], where: str) -> dict[str, Any]:
    """The row as JSON would have brought it."""
    return {key: _value(value, f"{where}: `{key}`") for key, value in row.items() if value is not None}


def _value(value: Any, where: str) -> Any:
    if isinstance(value, dict):
        return {key: _value(part, where) for key, part in value.items() if part is not None}
    if isinstance(value, list):
        return [_value(part, where) for part in value]
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, float) and not math.isfinite(value):
        raise DataError(f"{where} is {value}; write null where there is no number")
    if value is not None and not isinstance(value, bool | int | float | str):
        raise DataError(
            f"{where} is of the type {type(value).__name__}, which JSON does not have; leave the column out"
        )
    return value


def _library() -> tuple[Any, Any]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise MissingExtraError(
            "Parquet files need the package pyarrow; run: pip install 'hybridgrad-guardrail[parquet]'"
        ) from error
    return pyarrow, pyarrow.parquet
