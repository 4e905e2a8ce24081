"""A log of verdicts, read line by line against one calibrator, its labels bound to its lines by id."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import TypeAlias

from guardrail.errors import DataError
from guardrail.monitoring.entries import Entry, entries, moment
from guardrail.monitoring.entries import labels as read_labels
from guardrail.monitoring.tally import Tally

StrPath: TypeAlias = "str | os.PathLike[str]"


def labels_of(path: StrPath | None) -> Mapping[tuple[str, int | None], bool]:
    """The labels of a file, by id and claim; none without a file. Raises `DataError` for a file that is none."""
    return read_labels(os.fspath(path)) if path is not None else {}


def read_into(tally: Tally, log: StrPath, last: int | None, since: datetime | str | None) -> int:
    """Count the lines of a log, and set aside what is not this calibrator's.

    Args:
        tally: Empty; it says which calibrator and labels.
        log: The file; "-" is standard input.
        last: Only so many lines, the last ones.
        since: Only lines from then on; an ISO date without an offset is in UTC.

    Returns:
        How many lines are torn.

    Raises:
        DataError: For a log that is none, and for one without a line of this calibrator.
    """
    name, unit = os.fspath(log), tally.reference.unit
    if isinstance(since, str):
        since = moment(since, "--since")
    unreadable = 0
    for entry in _window(entries(name, unit), last, since, tally):
        if entry is None:
            unreadable += 1
        else:
            tally.add(entry)
    tally.finish()
    if not tally.lines:
        raise DataError(f"{name} holds no verdict" + (f" ({unreadable} lines are torn)" if unreadable else ""))
    if not tally.scored and not tally.unscored and not tally.with_evidence:
        raise DataError(
            f"{name} holds no {unit} of this calibrator: {dict(tally.set_aside) or 'nothing to compare'}; "
            "give the calibrator that the verdicts were made with"
        )
    if unused := len(tally.labels.keys() - tally.used):
        tally.set_aside["labels for ids that are not in the log"] += unused
    return unreadable


def _window(
    found: Iterator[Entry | None], last: int | None, since: datetime | None, tally: Tally
) -> Iterable[Entry | None]:
    if since is not None:
        found = _from(found, since, tally)
    return found if last is None else deque(found, maxlen=last)


def _from(found: Iterator[Entry | None], since: datetime, tally: Tally) -> Iterator[Entry | None]:
    for entry in found:
        if entry is None or (entry.time is not None and entry.time >= since):
            yield entry
        elif entry.time is None:
            tally.set_aside["without a time"] += 1
