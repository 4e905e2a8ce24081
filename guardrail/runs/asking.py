"""How questions are put, and the loop that puts them batch by batch, resumable."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from guardrail.errors import DataError
from guardrail.messages import as_messages
from guardrail.runs.cache import RecordCache, content_key, reading_of
from guardrail.runs.cluster import Lost, Workers, each_here
from guardrail.runs.readings import layers_of, offsets_of
from guardrail.runs.run_file import RunFile
from guardrail.types import Message
from guardrail.waiting import rate

if TYPE_CHECKING:
    from guardrail.model.local import LocalModel

KIND, VERSION = "guardrail run", 2
"""What opens the header of a run file."""

Progress = Callable[[int, int, float], None]
"""Called with the rows done, the rows in all, and rows a second."""

Work = Callable[[list[int]], list[dict[str, Any]]]
"""Indices of rows -> what is found out about each."""

LOST = "its workers died"
"""Why a row is left out that no worker survived, as its record says it in `left_out`."""


@dataclass(frozen=True, slots=True)
class Asking:
    """How questions are put: the prompt's text with `{question}`, a system message, and the token limit (greedy).

    prefix: how each reply has to begin; empty leaves that to the model.
    """

    prompt: str
    system: str | None = None
    max_new_tokens: int = 64
    prefix: str = ""

    def messages(self, question: str) -> tuple[Message, ...]:
        return as_messages(self.prompt.replace("{question}", question), self.system)

    def to_dict(self) -> dict[str, Any]:
        out: dict[str, Any] = {"prompt": self.prompt, "system": self.system, "max_new_tokens": self.max_new_tokens}
        return out | ({"prefix": self.prefix} if self.prefix else {})


@dataclass(frozen=True, slots=True)
class RunOptions:
    """How a run goes on, whatever it asks: every collector takes one, and hands it to `records_of`.

    file: keeps each finished row, so that a stopped run can go on; None keeps everything in memory. resume: go on with a file
    that exists. cache: look answers up in the user's cache folder, and keep them there. batch_size: rows worked on together.
    progress: called after each batch. workers: who works on the rows; None is this process.
    """

    file: Path | None = None
    resume: bool = False
    cache: bool = False
    batch_size: int = 16
    progress: Progress | None = None
    workers: Workers | None = None

    def on(self, local: LocalModel) -> RunOptions:
        """For this model. What answered behind an endpoint may be another tomorrow, under the same name: no answer of it is
        looked up elsewhere than in the run's own file."""
        return self if local.answers_here else replace(self, cache=False)

    def beside(self, name: str) -> RunOptions:
        """For a second run of the same command, whose file stands next to the first one's."""
        return replace(self, file=self.file and self.file.with_name(f"{self.file.name}.{name}"))


def run_header(local: LocalModel, asking: Asking, data: str, **more: Any) -> dict[str, Any]:
    """What a run is about: its file is refused for another one."""
    return {
        "kind": KIND,
        "version": VERSION,
        "model": local.identity.model_dump(exclude={"name"}),
        "asking": asking.to_dict(),
        "data": data,
        "offsets": list(offsets_of(local)),
        "layers": layers_of(local),
        "device": local.device.type,
        **more,
    }


def records_of(
    own: Sequence[Mapping[str, Any]],
    contents: Sequence[str],
    work: Work,
    header: Mapping[str, Any],
    options: RunOptions,
    local: LocalModel | None,
) -> tuple[dict[str, Any], ...]:
    """The records of all rows, in order; those that the run file or the cache has are not made again.

    own: what the record of each row holds without any work, its `key` (of which no two are the same) above all. contents: what
    the work on a row depends on (its question, say); together with the header it names a record in the cache. Rows of like
    length go together, which means less padding. local: the model that the work is done with; None for work without one. A
    record with an `error` is made again when its run goes on.
    """
    options = options.on(local) if local else options
    batch_size, progress = options.batch_size, options.progress
    if batch_size < 1:
        raise DataError(f"the batch size is {batch_size}; it must be at least 1")
    keys = [row["key"] for row in own]
    with (
        RecordCache() if options.cache else nullcontext() as cache,
        RunFile(options.file, header, resume=options.resume, asked=dict(zip(keys, own, strict=True)))
        if options.file
        else nullcontext() as file,
    ):
        rows = {key: row for key, row in (file.rows if file else {}).items() if "error" not in row}
        todo = [i for i, key in enumerate(keys) if key not in rows]
        about = {**header, "reading": reading_of(local)} if cache and local else header
        places = {i: content_key(about, contents[i]) for i in todo} if cache else {}
        cached = cache.get(list(places.values())) if cache else {}

        def finish(batch: Sequence[int], made: Sequence[Mapping[str, Any]]) -> None:
            records = [{**own[i], **record} for i, record in zip(batch, made, strict=True)]
            if file:
                file.add(records)
            rows.update((record["key"], record) for record in records)

        known = [i for i in todo if places.get(i) in cached]
        finish(known, [cached[places[i]] for i in known])
        todo = sorted((i for i in todo if keys[i] not in rows), key=lambda i: len(contents[i]))
        done, start = len(keys) - len(todo), time.perf_counter()
        if progress and done:
            progress(done, len(keys), 0.0)
        batches = (todo[at : at + batch_size] for at in range(0, len(todo), batch_size))
        worked: Iterable[tuple[list[int], Sequence[dict[str, Any] | Lost]]] = (
            options.workers.each(work, batches, lambda i: repr(own[i].get("question", keys[i])))
            if options.workers
            else each_here(work, batches)
        )
        finished = 0
        for batch, found in worked:
            fresh = [_lost(one) if isinstance(one, Lost) else one for one in found]
            finish(batch, fresh)
            if cache:
                cache.put({places[i]: row for i, row in zip(batch, fresh, strict=True) if "error" not in row})
            finished += len(batch)
            if progress:
                progress(done + finished, len(keys), rate(finished, start))
    return tuple(rows[key] for key in keys)


def _lost(row: Lost) -> dict[str, Any]:
    return {"answer": "", "finish_reason": "given", "unscored": "error", "left_out": LOST, "error": row.reason}
