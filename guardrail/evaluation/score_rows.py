"""Rows of a prompt and an answer -> the same rows with a score."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Literal

import torch

from guardrail.errors import ChatTemplateError, DataError, GuardrailError
from guardrail.messages import as_messages, before_answer, final_answer, finish_of
from guardrail.model.local import LocalModel
from guardrail.scoring.protocol import Scorer
from guardrail.types import Message, Trace

Status = Literal["scored", "unscored", "failed"]
Numbered = tuple[int, Mapping[str, Any] | DataError]
"""A line's number, and its row or what is wrong with it."""


def score_rows(
    local: LocalModel, scorer: Scorer, rows: Iterable[Numbered], batch_size: int = 8
) -> Iterator[tuple[dict[str, Any], Status]]:
    """One row out for each row in, in order: with `score`, or with `error` and `line`; other keys untouched.

    A row has `messages` (a list of role and content) or `prompt` (the user's text), and `response`, or messages that end in the
    answer. Where its `finish_reason` says that something cut the response, the score is that of an unended turn. What an
    earlier run left in `score`, `error` and `line` gives way.
    """
    source = iter(rows)
    while batch := list(islice(source, batch_size)):
        yield from _score_batch(local, scorer, batch)


def _score_batch(local: LocalModel, scorer: Scorer, batch: list[Numbered]) -> list[tuple[dict[str, Any], Status]]:
    out: list[tuple[dict[str, Any], Status]] = []
    traces: list[Trace] = []
    places: list[int] = []
    for line, row in batch:
        if isinstance(row, DataError):
            out.append(({"error": str(row), "line": line}, "failed"))
            continue
        try:
            traces.append(_trace(local, row))
        except (DataError, ChatTemplateError) as error:
            out.append(({**_cleared(row), "error": str(error), "line": line}, "failed"))
            continue
        places.append(len(out))
        out.append((_cleared(row), "scored"))
    try:
        scores = scorer.score_traces(traces)
    except (GuardrailError, torch.OutOfMemoryError) as error:  # one row's fault must not take the batch along
        if len(traces) > 1:
            return [row for numbered in batch for row in _score_batch(local, scorer, [numbered])]
        row, line = out[places[0]][0], batch[places[0]][0]
        out[places[0]] = ({**row, "error": " ".join(str(error).split()), "line": line}, "failed")
        return out
    for place, score in zip(places, scores, strict=True):
        out[place] = ({**out[place][0], "score": score.to_dict()}, "unscored" if score.unscored else "scored")
    return out


def _cleared(row: Mapping[str, Any]) -> dict[str, Any]:
    """Without the outcome of an earlier run; `line` is one's own where there was no error."""
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
