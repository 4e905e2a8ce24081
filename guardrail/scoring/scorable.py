"""Which answers cannot have a score, whatever the scorer, and why."""

from __future__ import annotations

from collections.abc import Sequence

from guardrail.errors import ScoringError
from guardrail.model.anatomy import Anatomy
from guardrail.plain_text import is_blank
from guardrail.scoring.suffix import Row
from guardrail.types import Score, Trace


def unscorable(
    anatomy: Anatomy | None, end_ids: frozenset[int], row: Row, trace: Trace | None, offsets: Sequence[int] = ()
) -> Score | None:
    """The unscored Score of a row that cannot have a number, or None.

    anatomy: None for a model behind an endpoint, whose ids are its own business.
    end_ids: the model's end-of-turn ids. trace: where the row comes from, if it comes from one. offsets: prompt tokens that
    scoring will look at, negative, from the prompt's end. Raises `ScoringError` for impossible token ids.
    """
    P, T = len(row.prompt_ids), len(row.response_ids)
    context = anatomy.context if anatomy is not None else None
    if trace is not None and trace.fault == "not_finite":
        return Score.none("not_finite", "NaN or infinity in the model's logits", length=T)
    if trace is not None and trace.fault == "out_of_memory":
        return Score.none("out_of_memory", f"{P} prompt tokens do not fit into memory", length=T)
    if trace is not None and trace.fault == "other_tokens":
        return Score.none("other_tokens", trace.fault_detail, length=T)
    if trace is not None and trace.finish_reason == "prompt_too_long":
        return Score.none("prompt_too_long", f"{P} prompt tokens, context {context}", length=T)
    if trace is not None and trace.prompt_truncated:
        return Score.none("prompt_truncated", "the model did not see the whole prompt", length=T)
    if trace is not None and trace.unfinished_thinking:
        detail = f"after {trace.thinking_tokens} tokens the model was still thinking; raise max_new_tokens"
        return Score.none("unfinished_thinking", detail, length=T)
    if T == 0:
        return Score.none("no_response_tokens", "the response has no token", length=0)
    if end_ids.issuperset(row.response_ids) or (trace is not None and is_blank(trace.text)):
        return Score.none("empty_answer", "the answer is empty", length=T)
    if context is not None and context < P + T - 1:
        return Score.none("prompt_too_long", f"{P} + {T} tokens, context {context}", length=T)
    if offsets and -min(offsets) > row.asked:
        return Score.none("prompt_too_short", f"{row.asked} prompt tokens, semantic token at {min(offsets)}", length=T)
    if anatomy is None:
        return None
    V = anatomy.head.out_features
    for token in (*row.prompt_ids, *row.response_ids):
        if not 0 <= token < V:
            raise ScoringError(
                f"token id {token} is outside the model's vocabulary of {V}; was it made by another tokenizer?"
            )
    return None
