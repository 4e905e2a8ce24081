"""Answers whose score has no number, whatever the scorer: known before anything is measured."""

from __future__ import annotations

from collections.abc import Callable

from guardrail.pipeline.collecting import collecting, unread
from guardrail.types import Score, Trace

TOOL_CALL = "the turn calls tools, which is no answer yet"

_FAULTS = {
    "not_finite": "NaN or infinity in the model's logits",
    "out_of_memory": "the prompt does not fit into memory",
}


def unmeasured(trace: Trace, scorer: str, is_tool_call: Callable[[Trace], bool]) -> Score | None:
    """The Score of a turn of tool calls, of a model that could not answer, and of one whose answers are collected; None of
    others. scorer: the name of the one that is not asked."""
    length = len(trace.response_ids)
    if trace.fault is not None:
        return Score.none(trace.fault, _FAULTS.get(trace.fault, trace.fault_detail), length=length, name=scorer)
    if is_tool_call(trace):
        return Score.none("tool_call", TOOL_CALL, length=length)
    return unread(trace) if collecting() is not None else None
