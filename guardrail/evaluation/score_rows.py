"""Rows of a prompt and an answer -> the same rows with a score."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any, Literal

import torch

from guardrail.errors import ChatTemplateError, DataError, GuardrailError
from guardrail.messages import finish_of
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

    A row has `response` and `messages` (a list of role and content) or `prompt` (the user's text). Where its
    `finish_reason` says that something cut the response, the score is that of an unended turn.
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
            out.append(({**row, "error": str(error), "line": line}, "failed"))
            continue
        places.append(len(out))
        out.append((dict(row), "scored"))
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


def _trace(local: LocalModel, row: Mapping[str, Any]) -> Trace:
    response = row.get("response")
    if not isinstance(response, str):
        raise DataError("no `response`: it must be a string, the answer to score")
    if ("messages" in row) == ("prompt" in row):
        raise DataError("a row has either `messages` or `prompt`, and one of them it must have")
    finish = finish_of(row.get("finish_reason"))
    if "prompt" in row:
        if not isinstance(row["prompt"], str):
            raise DataError("`prompt` must be a string, the user's text")
        return local.trace(row["prompt"], response, finish_reason=finish)
    return local.trace(_messages(row["messages"]), response, finish_reason=finish)


def _messages(value: Any) -> list[Message]:
    fine = isinstance(value, list) and all(
        isinstance(m, dict) and isinstance(m.get("role"), str) and isinstance(m.get("content"), str) for m in value
    )
    if not fine or not value:
        raise DataError('`messages` must be a list such as [{"role": "user", "content": "..."}], not empty')
    return list(value)
