"""Finished records by what they depend on: model, prompt, decoding, numbers, code. The same work is never done twice.

SQLite, so that several processes may use one file and a killed one leaves it whole.
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from guardrail.errors import DataError
from guardrail.json_text import parse
from guardrail.model.gguf import cache_dir

if TYPE_CHECKING:
    from guardrail.model.local import LocalModel

_TABLE = "CREATE TABLE IF NOT EXISTS records (key TEXT PRIMARY KEY, record TEXT NOT NULL) WITHOUT ROWID"
_COMPUTING = (
    "hybridgrad-guardrail", "torch", "transformers", "tokenizers", "numpy", "sentence-transformers", "peft", "gguf",
    "torchao", "bitsandbytes",
)  # fmt: skip
_SHOWING = ("cli", "evaluation", "html", "monitoring", "server")  # folders that see records once they are made
_AT_ONCE = 500  # SQLite takes at least 999 variables in one statement
_PATIENCE = 60.0  # seconds to wait for another process that writes


def content_key(header: Mapping[str, Any], content: Any) -> str:
    """SHA-256, hex, of everything that a record depends on.

    header: the run's, whose `data` does not count, since one question's answer does not depend on the others. content: the
    row's own part, JSON-ready. The versions of the packages that compute count too, and this package's own code.
    """
    about = {name: value for name, value in header.items() if name != "data"}
    return _digest([about, content, _versions(), own_code()])


def reading_of(local: LocalModel) -> dict[str, Any]:
    """What else of a model its answers depend on, beside its identity: how it makes tokens, attends, and is read."""
    config = getattr(local.model, "config", None)
    return {
        "tokenizer": _digest(_tokens_of(local.tokenizer)),
        "attention": getattr(config, "_attn_implementation", None),
        "wording": local.wording and local.wording.model_dump(mode="json"),
    }


@cache
def own_code() -> str:
    """SHA-256, hex, of the package's modules, but for those that only see records once they are made: a checkout changes
    while its version stays. Without sources it is that of nothing, and the version stands alone."""
    package = Path(__file__).parent.parent
    files = {path.relative_to(package).as_posix(): path for path in package.rglob("*.py")}
    made_by = {name: files[name].read_bytes() for name in sorted(files) if name.split("/")[0] not in _SHOWING}
    return _digest([[name, hashlib.sha256(source).hexdigest()] for name, source in made_by.items()])


@cache
def _versions() -> dict[str, str | None]:
    return {name: _version(name) for name in _COMPUTING}


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _tokens_of(tokenizer: Any) -> Any:
    """All that makes a tokenizer, JSON-ready; how it pads is set at each call."""
    fast = getattr(tokenizer, "backend_tokenizer", None)
    if fast is None:
        return [sorted(tokenizer.get_vocab().items()), str(tokenizer.special_tokens_map)]
    return {name: part for name, part in parse(fast.to_str()).items() if name not in ("padding", "truncation")}


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, allow_nan=False).encode()).hexdigest()


class RecordCache:
    """A file of finished records; use as a context manager.

    path: default `$GUARDRAIL_ANSWERS`, or `answers.sqlite3` in the user's cache folder.

    Holds answers in plain text, their questions only as hashes. Raises `DataError` for a file that is no such cache.

        with RecordCache() as cache:
            known = cache.get(keys)
            cache.put({key: record for key, record in fresh})
    """

    def __init__(self, path: str | os.PathLike[str] | None = None) -> None:
        self.path = Path(path or os.environ.get("GUARDRAIL_ANSWERS") or cache_dir() / "answers.sqlite3")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(self.path, timeout=_PATIENCE)
            with self._db:
                self._db.execute(_TABLE)
        except (OSError, sqlite3.Error) as error:
            raise self._unusable(error) from error

    def get(self, keys: Sequence[str]) -> dict[str, dict[str, Any]]:
        """The records that are there, by key."""
        found: dict[str, dict[str, Any]] = {}
        try:
            for at in range(0, len(keys), _AT_ONCE):
                some = keys[at : at + _AT_ONCE]
                marks = ",".join("?" * len(some))
                rows = self._db.execute(f"SELECT key, record FROM records WHERE key IN ({marks})", some)  # noqa: S608
                found.update((key, parse(record)) for key, record in rows)
        except (sqlite3.Error, ValueError) as error:
            raise self._unusable(error) from error
        return found

    def put(self, records: Mapping[str, Mapping[str, Any]]) -> None:
        """Add records; they are on the disk when this returns. One that is there is left as it is."""
        rows = [(key, json.dumps(record, allow_nan=False)) for key, record in records.items()]
        try:
            with self._db:
                self._db.executemany("INSERT OR IGNORE INTO records VALUES (?, ?)", rows)
        except sqlite3.Error as error:
            raise self._unusable(error) from error

    def close(self) -> None:
        self._db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _unusable(self, error: Exception) -> DataError:
        return DataError(
            f"the cache of answers {str(self.path)!r} cannot be used ({error}); delete it, set GUARDRAIL_ANSWERS to another "
            "file, or go without it (--no-cache)"
        )
