"""A user's chain, as an object or as `FILE.py:NAME` -> something that a row can be put to. Knows nothing about models."""

from __future__ import annotations

import asyncio
import hashlib
import importlib
import importlib.util
import inspect
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from guardrail.errors import DataError

if TYPE_CHECKING:
    from guardrail.datasets.questions import QuestionRow
    from guardrail.runs.asking import RunOptions

_SPEC = "give FILE.py:NAME or package.module:NAME, such as app.py:chain"


@dataclass(frozen=True, slots=True)
class Chain:
    """A LangChain runnable, an agent, or a function: a question in, an answer out.

    name: what a calibrator calls it. code: SHA-256, hex, of its file and of the modules beside it; None for an object, of which
    nobody can say whether it is still the same, so that its answers are not looked up in the cache.
    """

    runs: Any
    name: str
    code: str | None = None

    @property
    def identity(self) -> dict[str, Any]:
        """What a run's header says of it."""
        return {"name": self.name, "code": self.code}

    def options(self, options: RunOptions) -> RunOptions:
        """One row at a time, so that a stopped run loses one at most."""
        return replace(options, batch_size=1, cache=options.cache and self.code is not None)

    @staticmethod
    def given(row: QuestionRow) -> Any:
        """What it is asked: the row's messages, or else its question."""
        return row.extra.get("messages") or row.question

    def ask(self, row: QuestionRow) -> Any:
        """What it returns for a row. Raises whatever it raises."""
        given = self.given(row)
        run = getattr(self.runs, "invoke", None)
        if run is None:
            out = self.runs(given)
        elif _takes_state(self.runs):
            out = run({"messages": [{"role": "user", "content": given}] if isinstance(given, str) else given})
        else:
            out = run(given)
        return asyncio.run(_awaited(out)) if inspect.isawaitable(out) else out


def chain_of(given: Any) -> Chain:
    """The chain itself, or the one that a string names. Raises `DataError` for what can be neither called nor invoked, and for
    a name that leads nowhere."""
    if not isinstance(given, str):
        return _checked(given, str(getattr(given, "name", None) or getattr(given, "__name__", type(given).__name__)))
    place, colon, name = given.rpartition(":")
    if not colon or not name.isidentifier() or not place:
        raise DataError(f"{given!r} names no chain; {_SPEC}")
    path = Path(place)
    beside = path.resolve().parent if path.suffix == ".py" else Path.cwd()
    before = set(sys.modules)
    _make_importable(beside)
    module = _from_file(path) if path.suffix == ".py" else _imported(place)
    if not hasattr(module, name):
        raise DataError(f"{place} has no {name!r}; {_SPEC}")
    files = {path.resolve()} if path.suffix == ".py" else {Path(str(module.__file__))}
    for loaded in set(sys.modules) - before:
        file = getattr(sys.modules[loaded], "__file__", None)
        if (
            file
            and file.endswith(".py")
            and "site-packages" not in file
            and Path(file).resolve().is_relative_to(beside)
        ):
            files.add(Path(file).resolve())
    code = hashlib.sha256(b"\0".join(file.read_bytes() for file in sorted(files))).hexdigest()
    return replace(_checked(getattr(module, name), f"{path.name}:{name}"), code=code)


def _checked(runs: Any, name: str) -> Chain:
    if not callable(getattr(runs, "invoke", None)) and not callable(runs):
        raise DataError(f"{name} is {type(runs).__name__}, which can be neither invoked nor called; {_SPEC}")
    return Chain(runs, name)


def _takes_state(runs: Any) -> bool:
    """Whether it takes an agent's state, `{"messages": [...]}`."""
    schema = getattr(runs, "get_input_jsonschema", None)
    try:
        found = schema() if callable(schema) else {}
    except Exception:  # a runnable need not know its input
        return False
    return isinstance(found, Mapping) and "messages" in found.get("properties", {})


def _from_file(path: Path) -> Any:
    name = f"guardrail_through_{path.stem}"
    found = importlib.util.spec_from_file_location(name, path)
    if not path.is_file() or found is None or found.loader is None:
        raise DataError(f"there is no file {str(path)!r}; {_SPEC}")
    module = importlib.util.module_from_spec(found)
    sys.modules[name] = module  # as an import does: classes of the file are looked up there
    try:
        found.loader.exec_module(module)
    except (Exception, SystemExit) as error:  # a script ends the process; it would look like success
        del sys.modules[name]
        raise _failed(str(path), error) from error
    return module


def _imported(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except (Exception, SystemExit) as error:
        raise _failed(name, error) from error


def _failed(place: str, error: BaseException) -> DataError:
    told = " ".join(f"{type(error).__name__}: {error}".split())
    return DataError(f"{place} cannot be run: {told}")


def _make_importable(folder: Path) -> None:
    """As `python FILE` does: modules beside the file can be imported, now and when the chain runs."""
    entry = os.fspath(folder)
    if entry not in sys.path:
        sys.path.insert(0, entry)


async def _awaited(out: Any) -> Any:
    return await out
