"""`--limit N`: which rows of a data set those are."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import TypeVar

from guardrail.errors import DataError

Row = TypeVar("Row")


def check_limit(limit: int | None, least: int = 1, why: str = "") -> None:
    """Raise `DataError` for a limit below `least`."""
    if limit is not None and limit < least:
        raise DataError(f"{why}a limit must be at least {least}, not {limit}")


def drawn(rows: Mapping[str, Row], limit: int | None) -> list[Row]:
    """At most so many rows, drawn at random, in their own order; None takes all.

    A data set is often sorted, by kind or by difficulty, so that its first rows are like none of the others. The draw depends
    on the rows' names alone: every command draws the same ones, whatever the order of the file, and a larger limit keeps what
    a smaller one drew.

    Args:
        rows: By name, such as the question's digest.
        limit: How many.
    """
    if limit is None or limit >= len(rows):
        return list(rows.values())
    kept = set(sorted(rows, key=lambda name: hashlib.sha256(f"drawn {name}".encode()).digest())[:limit])
    return [row for name, row in rows.items() if name in kept]
