"""An append-only file of finished work: killed at any moment, it goes on with nothing lost and nothing done twice.

The first line is a header that says what the run is about; every other line is one finished row, or the header again of a run
that went on with more questions. A line counts once its newline is on the disk; a torn last line is dropped.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Self

from guardrail.errors import DataError
from guardrail.files import read_bytes, read_stream
from guardrail.json_text import parse

if TYPE_CHECKING:
    from types import TracebackType

Json = Mapping[str, Any]


class RunFile:
    """A run being written; use as a context manager. Only one process at a time may hold it.

    Opening without `resume` refuses a file that exists; with it, the header must equal the file's, but for its `data` where
    every row of the file is one of `asked`: the run goes on with more questions. asked: what a row holds before any work, by
    its key. Raises `DataError` when the file is another run's, is not a run, or is in use.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        header: Json,
        *,
        resume: bool = False,
        asked: Mapping[str, Json] | None = None,
    ) -> None:
        self.path, self._asked = Path(path), asked or {}
        self.header = json.loads(json.dumps(header))
        self.rows: dict[str, dict[str, Any]] = {}
        if self.path.exists() and not resume:
            raise DataError(f"{self.path} exists: --resume goes on with it; delete it to start again")
        if self.path.exists() and not self.path.is_file():
            raise DataError(f"cannot write the run file {str(self.path)!r}: it is not a regular file")
        try:
            # what does not fit on the disk is not kept for later
            self._file: IO[bytes] = self.path.open("a+b", buffering=0)
        except OSError as error:
            raise self._unwritable(error) from error
        try:
            _lock(self._file, self.path)
            self._read()
        except BaseException:
            self._file.close()
            raise

    def add(self, rows: Iterable[Json]) -> None:
        """Write finished rows, each with its `key`; they are on the disk when this returns."""
        added = [dict(row) for row in rows]
        self._append(b"".join(map(_encoded, added)))
        self.rows.update((row["key"], row) for row in added)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._file.close()

    def _read(self) -> None:
        """Check everything before a byte is written: the file may be something else."""
        self._file.seek(0)
        try:
            content = read_stream(self._file, most=None)
        except OSError as error:
            raise DataError(f"cannot read the run file {str(self.path)!r}: {error.strerror}") from error
        whole = content.rfind(b"\n") + 1
        lines = content[:whole].splitlines()
        if not lines:
            if not _encoded(self.header).startswith(content):  # neither empty nor our own header, torn
                raise DataError(f"{self.path} is not a run file; give another file")
            self._file.truncate(0)
            self._append(_encoded(self.header))
            return
        theirs, rows = _parsed(self.path, lines)
        differing = _differing(theirs, self.header)
        grown = differing.startswith("data ") and self._has_more(theirs, rows.values())
        if differing and not grown:
            others = ""
            if differing.startswith("data "):
                others = (
                    "some of its questions are not among these, or their accepted answers are others: another file, or a "
                    "smaller --limit; what the cache of answers holds is not made again, so "
                )
            raise DataError(
                f"{self.path} is another run ({differing}); {others}give another file, or delete it to start again"
            )
        if whole < len(content):
            self._file.truncate(whole)
        if grown:
            self._append(_encoded(self.header))
        self.rows = {row["key"]: row for row in rows.values()}

    def _has_more(self, theirs: Json, rows: Iterable[Json]) -> bool:
        """Whether everything that the file has is asked for here too, in the same way, beside other things."""
        if _differing({**theirs, "data": None}, {**self.header, "data": None}):
            return False
        return all(
            (own := self._asked.get(row["key"])) is not None
            and all(row.get(name) == own.get(name) for name in {*own, "items"})
            for row in rows
        )

    def _append(self, lines: bytes) -> None:
        """All of it or, where the disk is full, nothing."""
        end = self._file.seek(0, os.SEEK_END)
        try:
            while lines:
                lines = lines[self._file.write(lines) :]
            os.fsync(self._file.fileno())
        except OSError as error:
            with suppress(OSError):
                self._file.truncate(end)
            raise self._unwritable(error) from error

    def _unwritable(self, error: OSError) -> DataError:
        return DataError(f"cannot write the run file {str(self.path)!r}: {error.strerror}")


def read_run(path: str | os.PathLike[str]) -> tuple[dict[str, Any], dict[int, dict[str, Any]]]:
    """The last header and, by the numbers of their lines, the rows of a run file, which may still be growing. Raises
    `DataError` for another file."""
    path = Path(path)
    try:
        content = read_bytes(path, most=None)
    except OSError as error:
        raise DataError(f"cannot read the run file {str(path)!r}: {error.strerror}") from error
    lines = content[: content.rfind(b"\n") + 1].splitlines()
    if not lines:
        raise DataError(f"{path} is empty; it is not a run file")
    return _parsed(path, lines)


def _parsed(path: Path, lines: Iterable[bytes]) -> tuple[dict[str, Any], dict[int, dict[str, Any]]]:
    """The last header, and the rows by the numbers of their lines."""
    header: dict[str, Any] = {}
    rows: dict[int, dict[str, Any]] = {}
    for number, line in enumerate(lines, start=1):
        row = _parse(path, line, number, header.get("kind"))
        if number == 1 or "key" not in row:
            header = row
        else:
            rows[number] = row
    return header, rows


def _parse(path: Path, line: bytes, number: int, kind: object) -> dict[str, Any]:
    """One line. kind: of the header before it."""
    try:
        row = parse(line.decode())
        if not isinstance(row, dict):
            raise ValueError("not a row of a run")
        again = kind is not None and "key" not in row and row.get("kind") == kind
        if number > 1 and not again and not isinstance(row.get("key"), str):
            raise ValueError("not a row of a run")
    except ValueError as error:
        raise DataError(f"{path}:{number}: {error}; this is not a run file, or it was edited") from error
    return row


def _encoded(row: Json) -> bytes:
    return json.dumps(row, allow_nan=False).encode() + b"\n"


def _differing(theirs: Json, ours: Json) -> str:
    """The first header entry that differs, as a phrase; empty when none does.

    Runs of earlier versions do not say which token ids end an answer.
    """
    model, known = ours.get("model"), theirs.get("model")
    if isinstance(model, dict) and isinstance(known, dict) and "end_ids" not in known:
        ours = {**ours, "model": {key: value for key, value in model.items() if key != "end_ids"}}
    for key in sorted(theirs.keys() | ours.keys()):
        if theirs.get(key) != ours.get(key):
            return f"{key} is {json.dumps(theirs.get(key))[:80]} there, {json.dumps(ours.get(key))[:80]} here"
    return ""


def _lock(file: IO[bytes], path: Path) -> None:
    try:
        import fcntl  # not on Windows, where two writers are not detected
    except ImportError:
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise DataError(f"{path} is being written by another process; wait for it, or give another file") from error
