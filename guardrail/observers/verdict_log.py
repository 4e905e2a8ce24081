"""Verdicts -> a file of JSON lines, one a verdict, for `guardrail monitor`. An observer of the Guard.

A line is `Verdict.to_dict()` with an `id` and a `time`. Whether the answer was right is for a person to say: `"correct": true`
in the line, or `{"id": ..., "correct": true}` in a file of labels. Questions, answers and passages are left out unless asked
for. Knows nothing about what is done with the lines.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from guardrail.errors import DataError
from guardrail.observers.protocol import Observation
from guardrail.types import Verdict

_PASS = (
    "action",
    "rule",
    "confidence",
    "confidence_interval",
    "label",
    "in_range",
    "basis",
    "familiarity",
    "finish_reason",
)
_WHOLE = ("actions", "timing_ms", "model", "calibrator", "claim_calibrator", "policy")
_CLAIM = ("kind", "start", "end", "token_start", "token_end", "confidence", "confidence_interval", "label", "in_range",
          "basis", "familiarity", "action", "rule", "support")  # fmt: skip
_NO_NUMBER = ("detail",)


class VerdictLog:
    """Appends each verdict of a Guard to a file, whole lines only.

        log = VerdictLog("verdicts.jsonl")
        guard = Guard(model=local, observers=[log])
        verdict = guard.answer("Who wrote Faust?")
        log.id_of(verdict)          # what a label refers to

    Threads and processes may share a file: a line is appended under a lock (not on Windows, where one process writes). After a
    crash in the middle of a line, the next line starts on its own.

    With `max_bytes` the file is rotated: a line that would make it larger starts a new one, and the old ones are PATH.1 (the
    latest), PATH.2 and so on. Whoever waited for the file meanwhile writes to the new one, so no line is lost but those of a
    file that was dropped after `keep` others.

    Args:
        path: The file; it is made if it is not there, and goes on if it is.
        text: Also write the conversation (`messages`), the answers, the evidence and the claims; without it a line holds
            numbers and names only.
        max_bytes: The size from which on the file is rotated; a single longer line has a file of its own. None: never.
        keep: How many older files stay beside it; what is older is deleted.

    Raises:
        DataError: A limit is no positive number; the file cannot be opened; or, from the answer's call, a line cannot be
            written: an answer that is not in the log would make the log say something else than what happened.
    """

    def __init__(
        self, path: str | os.PathLike[str], *, text: bool = False, max_bytes: int | None = None, keep: int = 5
    ) -> None:
        if (max_bytes is not None and max_bytes < 1) or keep < 1:
            raise DataError(
                f"max_bytes is {max_bytes} and keep is {keep}; both are at least 1 (max_bytes=None: no limit)"
            )
        self.path = Path(path)
        self.text = text
        self.max_bytes = max_bytes
        self.keep = keep
        os.close(self._open())

    def __call__(self, observation: Observation) -> None:
        """Write one line."""
        verdict = observation.verdict
        record = verdict.to_dict()
        record = {"messages": [dict(m) for m in observation.messages], **record} if self.text else without_text(record)
        line = {"id": self.id_of(verdict), "time": datetime.now(UTC).isoformat(timespec="milliseconds"), **record}
        self._append(json.dumps(line, ensure_ascii=False, allow_nan=False, default=str).encode() + b"\n")

    @staticmethod
    def id_of(verdict: Verdict) -> str:
        """The `id` of a verdict's line: 16 hex digits of a hash over all of it, its timings to the last digit included.

        Whoever holds the verdict can compute it again. The same question asked twice has two ids.
        """
        told = json.dumps([verdict.to_dict(), dict(verdict.timing_ms)], sort_keys=True, default=str)
        return hashlib.sha256(told.encode()).hexdigest()[:16]

    def _open(self) -> int:
        try:
            file = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o600)
        except OSError as error:
            raise DataError(f"cannot write the verdict log {str(self.path)!r}: {error.strerror}") from error
        if stat.S_ISFIFO(
            os.fstat(file).st_mode
        ):  # nobody need read it: then lines are lost, and when it is full it blocks
            os.close(file)
            raise DataError(f"cannot write the verdict log {str(self.path)!r}: it is a FIFO; give an ordinary file")
        return file

    def _append(self, line: bytes) -> None:
        """Opened for each line, so that a log that was rotated away is not written to."""
        try:
            while not self._appended(line):
                pass
        except OSError as error:
            raise DataError(f"cannot write the verdict log {str(self.path)!r}: {error.strerror}") from error

    def _appended(self, line: bytes) -> bool:
        """Whether the line is in the file; False where the file was rotated away, here or by another process."""
        file = self._open()
        try:
            _lock(file)
            if not self._is_current(file):
                return False
            end = os.fstat(file).st_size
            if self.max_bytes is not None and end and end + len(line) > self.max_bytes:
                self._rotate()
                return False
            if end:
                os.lseek(file, -1, os.SEEK_END)
                if os.read(file, 1) != b"\n":
                    line = b"\n" + line  # a writer was killed in the middle of its line
            try:
                while line:
                    line = line[os.write(file, line) :]
            except OSError:  # whole lines only, on a full disk too
                with suppress(OSError):
                    os.ftruncate(file, end)
                raise
            return True
        finally:
            os.close(file)

    def _is_current(self, file: int) -> bool:
        """Whether the path still names this file: it may have been rotated away while the lock was waited for."""
        try:
            return os.path.samestat(os.fstat(file), os.stat(self.path))
        except FileNotFoundError:
            return False

    def _rotate(self) -> None:
        """PATH becomes PATH.1, PATH.1 becomes PATH.2. The caller holds the lock of PATH, which moves last: until then nobody
        else can have a new file at PATH, and so nobody else rotates."""
        for n in range(self.keep - 1, 0, -1):
            with suppress(FileNotFoundError):
                os.replace(self._older(n), self._older(n + 1))
        os.replace(self.path, self._older(1))

    def _older(self, n: int) -> Path:
        return self.path.with_name(f"{self.path.name}.{n}")


def without_text(record: Mapping[str, Any]) -> dict[str, Any]:
    """`Verdict.to_dict()` with its numbers and names alone: nothing of question, answers, passages or explanations.

    A list of what stays, not of what goes, so that a key that is added later is left out until someone thinks of it.
    """
    last = _of_pass(record)
    last["attempts"] = [_of_pass(attempt) for attempt in record["attempts"]]
    last["claims"] = [{**_chosen(claim, _CLAIM), "score": _score(claim["score"])} for claim in record["claims"]]
    more = {"escalation": record["escalation"]} if "escalation" in record else {}
    return last | _chosen(record, _WHOLE) | more


def _of_pass(attempt: Mapping[str, Any]) -> dict[str, Any]:
    evidence = [{"similarity": passage["similarity"]} for passage in attempt["evidence"]]
    more = {key: attempt[key] for key in ("context", "orders") if key in attempt}
    if "consistency" in attempt:
        more["consistency"] = _chosen(attempt["consistency"], ("samples", "share"))
    return {**_chosen(attempt, _PASS), **more, "score": _score(attempt["score"]), "evidence": evidence}


def _score(score: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in score.items() if key not in _NO_NUMBER}


def _chosen(record: Mapping[str, Any], keys: tuple[str, ...]) -> dict[str, Any]:
    return {key: record[key] for key in keys}


def _lock(file: int) -> None:
    """Wait for the turn; closing the file ends it."""
    try:
        import fcntl
    except ImportError:
        return
    fcntl.flock(file, fcntl.LOCK_EX)
