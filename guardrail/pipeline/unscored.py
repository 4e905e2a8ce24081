"""Answers that have no number, whatever the scorer."""

from __future__ import annotations

from guardrail.pipeline.collecting import collecting, unread
from guardrail.pipeline.hooks import Hooks
from guardrail.types import Score, Trace

TOOL_CALL = "the turn calls tools, which is no answer yet"
_FAULTS = {
    "not_finite": "NaN or infinity in the model's logits",
    "out_of_memory": "the prompt does not fit into memory",
}


def unscored(trace: Trace, name: str, hooks: Hooks) -> Score | None:
    """Of a turn of tool calls, of a model that could not answer, and of one whose answers are collected; else None.

    name: the scorer's.
    """
    length = len(trace.response_ids)
    if trace.fault is not None:
        return Score.none(trace.fault, _FAULTS.get(trace.fault, trace.fault_detail), length=length, name=name)
    if hooks.is_tool_call(trace):
        return Score.none("tool_call", TOOL_CALL, length=length)
    return unread(trace) if collecting() is not None else None
