"""Questions -> graded answers with every number that a pass gives, in batches, resumable.

Knows nothing about profiles.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from guardrail.calibration.profiles import Signals
from guardrail.errors import DataError
from guardrail.evaluation.datasets import QuestionRow, data_hash, question_digest
from guardrail.evaluation.runs import RunFile
from guardrail.messages import as_messages
from guardrail.model.generate import Keep
from guardrail.scoring.batching import by_token_budget
from guardrail.scoring.gradients import Readout
from guardrail.scoring.hybridgrad import HybridGradScorer
from guardrail.scoring.profile import Band, band_start
from guardrail.types import Message, Trace

if TYPE_CHECKING:
    from pathlib import Path

    from guardrail.evaluation.graders import Grader
    from guardrail.model.local import LocalModel

OFFSETS = tuple(range(-10, 0))
"""The prompt tokens whose SemGrad is read: t = 10..1, as in the paper's SPS maps, and the chat template's own."""

Progress = Callable[[int, int, float], None]
"""Called with the rows done, the rows in all, and rows a second."""


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


@dataclass(frozen=True, slots=True, eq=False)
class Answers:
    """Graded answers, in the questions' order. scored: indices of those that have a score; signals: of those alone.

    correct: (n,) booleans over all answers; what is unscored counts too (an empty answer is wrong).
    """

    records: tuple[dict[str, Any], ...]
    correct: np.ndarray
    scored: np.ndarray
    signals: Signals


def collect(
    local: LocalModel,
    questions: Sequence[QuestionRow],
    grader: Grader,
    asking: Asking,
    *,
    run: Path | None = None,
    resume: bool = False,
    batch_size: int = 16,
    progress: Progress | None = None,
) -> Answers:
    """Ask every question once, and grade. `run`: the file that makes it resumable; None keeps everything in memory."""
    if batch_size < 1:
        raise DataError(f"the batch size is {batch_size}; it must be at least 1")
    header: dict[str, Any] = {
        "kind": "guardrail run",
        "version": 1,
        "model": local.identity.model_dump(exclude={"name"}),
        "asking": asking.to_dict(),
        "data": data_hash(questions),
    }
    offsets = tuple(sorted({*OFFSETS, local.semantic_token.offset}))
    header["offsets"] = list(offsets)
    keys = [question_digest(row.question) for row in questions]
    with RunFile(run, header, resume=resume) if run else nullcontext() as file:
        rows: dict[str, dict[str, Any]] = dict(file.rows) if file else {}
        todo = [i for i, key in enumerate(keys) if key not in rows]
        done, start = len(keys) - len(todo), time.perf_counter()
        # like lengths together: less padding
        todo.sort(key=lambda i: len(questions[i].question))
        for at in range(0, len(todo), batch_size):
            batch = todo[at : at + batch_size]
            fresh = _ask(local, [questions[i] for i in batch], [keys[i] for i in batch], asking, offsets)
            if file:
                file.add(fresh)
            rows.update((row["key"], row) for row in fresh)
            if progress:
                finished = at + len(batch)
                progress(done + finished, len(keys), finished / (time.perf_counter() - start))
    records = tuple(rows[key] for key in keys)
    correct = np.array(
        [grader(q.question, r["answer"], q.answers) for q, r in zip(questions, records, strict=True)], dtype=np.bool_
    )
    scored = np.array([i for i, r in enumerate(records) if r["unscored"] is None], dtype=np.intp)
    return Answers(records, correct, scored, signals_of([records[i] for i in scored], offsets))


def signals_of(records: Sequence[dict[str, Any]], offsets: Sequence[int]) -> Signals:
    """The arrays of scored records, read at `offsets`, ascending. Offsets that some prompt was too short for are left out."""
    columns = min((len(r["semgrad"]["code"]) for r in records), default=0)
    semgrad: dict[Band, np.ndarray] = {
        band: np.array([r["semgrad"][band][-columns:] for r in records])
        for band in ("code", "text")
        if all(band in r["semgrad"] for r in records)
    }
    return Signals(
        offsets=tuple(offsets[-columns:]) if columns else (),
        semgrad=semgrad,
        paragrad=np.array([r["paragrad"] for r in records]),
        entropy=np.array([float(np.mean(r["entropies"])) for r in records]),
        length=np.array([float(len(r["entropies"])) for r in records]),
    )


def _ask(
    local: LocalModel,
    questions: Sequence[QuestionRow],
    keys: Sequence[str],
    asking: Asking,
    offsets: Sequence[int],
) -> list[dict[str, Any]]:
    layers = len(local.anatomy.layers)
    first = band_start("code", layers)
    scorer = HybridGradScorer(local, semantic_token=-1)
    traces = local.generate_batch(
        [asking.messages(q.question) for q in questions],
        max_new_tokens=asking.max_new_tokens,
        keep=Keep(first, offsets[0]),
    )
    rows = scorer.rows_of(traces)
    records = [_record(key, trace) for key, trace in zip(keys, traces, strict=True)]
    scorable: list[int] = []
    for i, (row, trace) in enumerate(zip(rows, traces, strict=True)):
        refused = scorer.unscorable(row, trace, [-1])
        if refused is None:
            scorable.append(i)
        else:
            records[i]["unscored"] = refused.unscored
    if not scorable:
        return records
    shortest = min(len(rows[i].prompt_ids) for i in scorable)
    reached = [o for o in offsets if -o <= shortest]
    for group in by_token_budget([rows[i] for i in scorable]):
        readouts = scorer.read([rows[scorable[j]] for j in group], reached, first, exgrad=True)
        for j, readout in zip(group, readouts, strict=True):
            _add(records[scorable[j]], readout, layers)
    return records


def _record(key: str, trace: Trace) -> dict[str, Any]:
    return {
        "key": key,
        "answer": trace.text,
        "finish_reason": trace.finish_reason,
        "prompt_tokens": len(trace.prompt_ids),
        "unscored": None,
    }


def _add(record: dict[str, Any], readout: Readout, layers: int) -> None:
    if not readout.finite():
        record["unscored"] = "not_finite"
        return
    first = band_start("code", layers)
    bands: dict[str, list[float]] = {"code": readout.semgrad.mean(0).tolist()}
    if layers // 2 + 1 < layers:
        bands["text"] = readout.semgrad[band_start("text", layers) - first :].mean(0).tolist()
    record.update(
        semgrad=bands,
        paragrad=readout.paragrad,
        exgrad=readout.exgrad,
        entropies=readout.entropies.tolist(),
        log_probs=readout.log_probs.tolist(),
    )
