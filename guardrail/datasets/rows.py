"""A file of rows -> objects with their numbers, whatever the file is written in. Knows nothing about what a row holds."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from guardrail.datasets.parquet import is_parquet, read_parquet
from guardrail.datasets.questions import read_jsonl


def read_rows(path: str | os.PathLike[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    """The rows of a .parquet file, or of JSON lines under any other name, `-` for standard input. Raises `DataError`."""
    return read_parquet(path) if is_parquet(path) else read_jsonl(path)
