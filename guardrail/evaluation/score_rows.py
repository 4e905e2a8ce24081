"""Rows of a prompt and an answer -> the same rows with a score."""

from __future__ import annotations

import hashlib
import json
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal

import torch

from guardrail.errors import ChatTemplateError, DataError, GuardrailError
from guardrail.messages import as_messages, before_answer, final_answer, finish_of
from guardrail.model.local import LocalModel
from guardrail.runs.cluster import Lost, each_here
from guardrail.scoring.protocol import Scorer
from guardrail.types import Message, Trace

if TYPE_CHECKING:
    from guardrail.runs.cluster import Workers
    from guardrail.runs.run_file import RunFile

Status = Literal["scored", "unscored", "failed"]
Numbered = tuple[int, Mapping[str, Any] | DataError]
"""A line's number, and its row or what is wrong with it."""


def score_rows(
    local: LocalModel,
    scorer: Scorer,
    rows: Iterable[Numbered],
    batch_size: int = 8,
    *,
    workers: Workers | None = None,
    file: RunFile | None = None,
) -> Iterator[tuple[dict[str, Any], Status]]:
    """One row out for each row in, in order: with `score`, or with `error` and `line`; other keys untouched.

    A row has `messages` (a list of role and content) or `prompt` (the user's text), and `response`, or messages that end in the
    answer. Where its `finish_reason` says that something cut the response, the score is that of an unended turn. What an
    earlier run left in `score`, `error` and `line` gives way.

    workers: who scores; None is this process. file: keeps what is found of each row; what it holds is not found again, but
    errors are.
    """
    known = {key: row for key, row in (file.rows if file else {}).items() if "error" not in row}
    source, read = iter(rows), deque[tuple[list[Numbered], bool]]()
    made: dict[int, Outcome] = {}

    def to_score() -> Iterator[list[Numbered]]:
        while batch := list(islice(source, batch_size)):
            wanted = [one for one in batch if not known or _key(one) not in known]
            read.append((batch, bool(wanted)))
            if wanted:
                yield wanted

    def finished() -> Iterator[tuple[dict[str, Any], Status]]:
        """The rows up to those that were just scored."""
        while read:
            batch, scored = read.popleft()
            for line, row in batch:
                outcome = made.pop(line, None) or _outcome_in(known[_key((line, row))])
                yield {**_cleared(row), **outcome.found}, outcome.status
            if scored:
                return

    def work(batch: list[Numbered]) -> list[Outcome]:
        return _score_batch(local, scorer, batch)

    worked: Iterable[tuple[list[Numbered], Sequence[Outcome | Lost]]] = (
        workers.each(work, to_score(), lambda one: f"line {one[0]}") if workers else each_here(work, to_score())
    )
    for batch, found in worked:
        outcomes = [
            _failed(line, one.reason) if isinstance(one, Lost) else one
            for (line, _), one in zip(batch, found, strict=True)
        ]
        if file:
            file.add(
                {"key": _key(one), "status": outcome.status, **outcome.found}
                for one, outcome in zip(batch, outcomes, strict=True)
            )
        made.update((line, outcome) for (line, _), outcome in zip(batch, outcomes, strict=True))
        yield from finished()
    yield from finished()


@dataclass(frozen=True, slots=True)
class Outcome:
    """What is added to a row: `score`, or `error` and `line`."""

    found: dict[str, Any]
    status: Status


def scores_header(local: LocalModel, scorer: Scorer) -> dict[str, Any]:
    """What a run file of scores is about. The rows are in its keys."""
    return {
        "kind": "guardrail scores",
        "version": 1,
        "model": local.identity.model_dump(exclude={"name"}),
        "device": local.device.type,
        "scorer": {"name": scorer.name, "options": dict(scorer.options)},
    }


def _key(one: Numbered) -> str:
    """The line, and what stands there: an input that was edited meanwhile is scored again where it was."""
    line, row = one
    if isinstance(row, DataError):
        return str(line)
    text = json.dumps(_cleared(row), sort_keys=True, default=str)
    return f"{line}:{hashlib.sha256(text.encode('utf-8', 'surrogatepass')).hexdigest()[:16]}"


def _outcome_in(kept: Mapping[str, Any]) -> Outcome:
    if not isinstance(kept.get("score"), dict) or kept.get("status") not in ("scored", "unscored"):
        raise DataError(
            f"the row {kept['key']} of the run file holds no score; the file was edited: make the run again"
        )
    return Outcome({"score": kept["score"]}, kept["status"])


def _failed(line: int, why: str) -> Outcome:
    return Outcome({"error": " ".join(why.split()), "line": line}, "failed")


def _score_batch(local: LocalModel, scorer: Scorer, batch: list[Numbered]) -> list[Outcome]:
    out: dict[int, Outcome] = {}
    traces: list[Trace] = []
    places: list[int] = []
    for place, (line, row) in enumerate(batch):
        try:
            if isinstance(row, DataError):
                raise row
            traces.append(_trace(local, row))
            places.append(place)
        except (DataError, ChatTemplateError) as error:
            out[place] = Outcome({"error": str(error), "line": line}, "failed")
    try:
        scores = scorer.score_traces(traces)
    except (GuardrailError, torch.OutOfMemoryError) as error:  # one row's fault must not take the batch along
        if len(traces) > 1:
            return [outcome for numbered in batch for outcome in _score_batch(local, scorer, [numbered])]
        out[places[0]] = _failed(batch[places[0]][0], str(error))
        return [out[place] for place in range(len(batch))]
    for place, score in zip(places, scores, strict=True):
        out[place] = Outcome({"score": score.to_dict()}, "unscored" if score.unscored else "scored")
    return [out[place] for place in range(len(batch))]


def _cleared(row: Mapping[str, Any] | DataError) -> dict[str, Any]:
    """Without the outcome of an earlier run; `line` is one's own where there was no error. Nothing, of what is no row."""
    if isinstance(row, DataError):
        return {}
    left_by_a_run = ("score", "error", "line") if row.get("error") is not None else ("score",)
    return {key: value for key, value in row.items() if key not in left_by_a_run}


def _trace(local: LocalModel, row: Mapping[str, Any]) -> Trace:
    given = [key for key in ("messages", "prompt") if row.get(key) is not None]
    if len(given) != 1:
        raise DataError("a row has either `messages` or `prompt`, and one of them it must have")
    finish = finish_of(row.get("finish_reason"))
    if given == ["messages"]:
        return local.trace(*_asked_and_answered(row["messages"], row.get("response")), finish_reason=finish)
    if not isinstance(row["prompt"], str):
        raise DataError("`prompt` must be a string, the user's text")
    return local.trace(row["prompt"], _response(row.get("response")), finish_reason=finish)


def _asked_and_answered(value: object, response: object) -> tuple[Sequence[Message], str]:
    """A log's messages and its answer, which may be the last message, the response, or both."""
    if not isinstance(value, list) or not value:
        raise DataError('`messages` must be a list such as [{"role": "user", "content": "..."}], not empty')
    messages = as_messages(value)
    said = final_answer(messages)
    if said is not None:
        text = said if response is None else _response(response)
        asked = before_answer(messages, text)
        if len(asked) == len(messages):
            raise DataError(
                f"`messages` end in the answer {said!r:.60} and `response` is another one; leave out the one "
                "that shall not be scored"
            )
        if not asked:
            raise DataError("`messages` hold an answer and no question")
        return asked, text
    if messages[-1]["role"] == "assistant":
        raise DataError("`messages` end in a tool call; its result comes before the answer")
    return messages, _response(response)


def _response(value: object) -> str:
    if not isinstance(value, str):
        raise DataError("no `response`: it must be a string, the answer to score")
    return value
