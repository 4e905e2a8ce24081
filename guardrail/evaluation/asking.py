"""How questions are put, and the loop that puts them batch by batch, resumable. Knows nothing about what is made of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from guardrail.errors import DataError
from guardrail.evaluation.readings import offsets_of
from guardrail.evaluation.runs import RunFile
from guardrail.messages import as_messages
from guardrail.types import Message

if TYPE_CHECKING:
    from pathlib import Path

    from guardrail.model.local import LocalModel

Progress = Callable[[int, int, float], None]
"""Called with the rows done, the rows in all, and rows a second."""

Work = Callable[[list[int]], list[dict[str, Any]]]
"""Indices of rows -> their records, each with its `key`."""


@dataclass(frozen=True, slots=True)
class Asking:
    """How questions are put: the prompt's text with `{question}`, a system message, and the token limit (greedy)."""

    prompt: str
    system: str | None = None
    max_new_tokens: int = 64

    def messages(self, question: str) -> tuple[Message, ...]:
        return as_messages(self.prompt.replace("{question}", question), self.system)

    def to_dict(self) -> dict[str, Any]:
        return {"prompt": self.prompt, "system": self.system, "max_new_tokens": self.max_new_tokens}


def run_header(local: LocalModel, asking: Asking, data: str, **more: Any) -> dict[str, Any]:
    """What a run is about: its file is refused for another one."""
    return {
        "kind": "guardrail run",
        "version": 1,
        "model": local.identity.model_dump(exclude={"name"}),
        "asking": asking.to_dict(),
        "data": data,
        "offsets": list(offsets_of(local)),
        **more,
    }


def records_of(
    keys: Sequence[str],
    lengths: Sequence[int],
    work: Work,
    header: Mapping[str, Any],
    *,
    run: Path | None = None,
    resume: bool = False,
    batch_size: int = 16,
    progress: Progress | None = None,
) -> tuple[dict[str, Any], ...]:
    """The records of all rows, in order; those that the run file has are not made again.

    lengths: of the prompts; like ones go together, which means less padding. run: None keeps everything in memory.
    """
    if batch_size < 1:
        raise DataError(f"the batch size is {batch_size}; it must be at least 1")
    with RunFile(run, header, resume=resume) if run else nullcontext() as file:
        rows: dict[str, dict[str, Any]] = dict(file.rows) if file else {}
        todo = sorted((i for i, key in enumerate(keys) if key not in rows), key=lambda i: lengths[i])
        done, start = len(keys) - len(todo), time.perf_counter()
        for at in range(0, len(todo), batch_size):
            batch = todo[at : at + batch_size]
            fresh = work(batch)
            if file:
                file.add(fresh)
            rows.update((row["key"], row) for row in fresh)
            if progress:
                finished = at + len(batch)
                progress(done + finished, len(keys), finished / (time.perf_counter() - start))
    return tuple(rows[key] for key in keys)
