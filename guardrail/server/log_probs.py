"""The log-probabilities of an answer's tokens, as OpenAI's `logprobs` has them: under the model itself, at temperature 1."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from guardrail.model.token_log_probs import likeliest_tokens
from guardrail.scoring.stacked.words import token_pieces

if TYPE_CHECKING:
    from guardrail.model.local import LocalModel
    from guardrail.server.requests import ChatRequest
    from guardrail.types import Trace, Verdict


def log_probs_of(model: LocalModel, verdict: Verdict, request: ChatRequest) -> dict[str, Any] | None:
    """`logprobs` of the reply that a verdict allows, from one forward pass, where a request wants them.

    None for a text that the policy has changed: these would be those of another one. The end of the turn is the last token,
    and spells nothing. Raises `ModelError` where the pass does not fit into memory.
    """
    trace = verdict.attempts[-1].trace
    if not request.logprobs or trace is None or verdict.text != verdict.answer or not trace.response_ids:
        return None
    if not model.has_weights:
        return None
    return {"content": _content(model, trace, request.top_logprobs or 0), "refusal": None}


def _content(model: LocalModel, trace: Trace, top: int) -> list[dict[str, Any]]:
    ids, found = likeliest_tokens(model, trace, top + 1)  # the generated one, then so many others
    spell = model.tokenizer.decode
    pieces = token_pieces(model.tokenizer, trace.response_ids)
    out = []
    for piece, row, values in zip(pieces, ids.tolist(), found.tolist(), strict=True):
        others = sorted(zip(values, row, strict=True), reverse=True)[:top]
        told = [_entry(spell([i], skip_special_tokens=False), value) for value, i in others]
        out.append({**_entry(piece, values[0]), "top_logprobs": told})
    return out


def _entry(token: str, log_prob: float) -> dict[str, Any]:
    return {"token": token, "logprob": log_prob, "bytes": list(token.encode("utf-8", errors="replace"))}
