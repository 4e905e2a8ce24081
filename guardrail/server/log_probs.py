"""An answer's tokens: their log-probabilities under the model itself, at temperature 1, as OpenAI has them, and their ids."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from guardrail.model.token_log_probs import likeliest_tokens
from guardrail.scoring.stacked.words import token_pieces

if TYPE_CHECKING:
    from guardrail.langchain.call import Call
    from guardrail.model.local import LocalModel
    from guardrail.server.bodies import TokenIds
    from guardrail.server.requests import ChatRequest
    from guardrail.types import Trace, Verdict


def log_probs_of(model: LocalModel, verdict: Verdict, request: ChatRequest) -> dict[str, Any] | None:
    """`logprobs` of the reply that a verdict allows, from one forward pass, where a request wants them.

    model: the one that wrote it. None for a text that the policy has changed, or whose tokens are not known: these would be
    those of another one. The end of the turn is the last token, and spells nothing. Raises `ModelError` where the pass does
    not fit into memory.
    """
    trace = _written(model, verdict) if request.logprobs else None
    if trace is None or not trace.response_ids:
        return None
    return {"content": _content(model, trace, request.top_logprobs or 0), "refusal": None}


def token_ids_of(model: LocalModel, verdict: Verdict, request: ChatRequest, call: Call) -> TokenIds | None:
    """Ids of the prompt and of all that was generated, the end of the turn included, where a request wants them.

    model, None: as in `log_probs_of`. None, too, of an answer that was thought about first or given with passages: ids are
    text to whoever has the tokenizer, and nobody is shown a thought, or more of a passage than the verdict shows. Those of
    a prompt are told only where it is the request's own, `call`: the operator's calibrator may put words around a question.
    """
    trace = _written(model, verdict) if request.return_token_ids else None
    if trace is None or trace.thinking_tokens or verdict.evidence:
        return None
    own = model.encode_prompt(call.conversation, call.options.tools)
    return own if tuple(own) == trace.prompt_ids else None, list(trace.response_ids)


def _written(model: LocalModel, verdict: Verdict) -> Trace | None:
    """What the model wrote, where it is what is shown, all of it, and its tokens are known here."""
    trace = verdict.attempts[-1].trace
    if (
        trace is None
        or trace.prefix
        or verdict.text != verdict.answer
        or not model.has_weights
        or trace.fault == "other_tokens"
    ):
        return None
    return trace


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
