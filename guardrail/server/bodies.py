"""A reply of the guarded model -> OpenAI's JSON."""

from __future__ import annotations

import json
import time
from typing import Any, TypeAlias

from langchain_core.messages.ai import UsageMetadata

from guardrail.langchain.reply import Reply

TokenIds: TypeAlias = tuple[list[int] | None, list[int]]
"""Of the prompt, None where they are not told, and of all that was generated."""


def completion(
    ident: str,
    model: str,
    reply: Reply,
    log_probs: dict[str, Any] | None = None,
    ids: TokenIds | None = None,
) -> dict[str, Any]:
    """`chat.completion`. log_probs: of the tokens, as OpenAI has them. ids: of the prompt and the reply, as vLLM has."""
    message: dict[str, Any] = {"role": "assistant", "content": reply.text or None if reply.calls else reply.text}
    message["refusal"] = None
    if reply.calls:
        message["tool_calls"] = _calls(reply)
    of_prompt, of_reply = _told(ids)
    choice = {"index": 0, "message": message, "logprobs": log_probs, **_end(reply), **of_reply}
    return {**_head(ident, "chat.completion", model), "choices": [choice], "usage": usage(reply.usage), **of_prompt}


def chunk(
    ident: str,
    model: str,
    delta: dict[str, Any],
    end: Reply | None = None,
    log_probs: dict[str, Any] | None = None,
    ids: TokenIds | None = None,
) -> dict[str, Any]:
    """`chat.completion.chunk`. end: the reply that it is the last chunk of. log_probs, ids: of the tokens in `delta`."""
    if end is not None and end.calls:
        delta = {**delta, "tool_calls": [{"index": i, **call} for i, call in enumerate(_calls(end))]}
    ending = {"finish_reason": None} if end is None else _end(end)
    of_prompt, of_reply = _told(ids)
    choice = {"index": 0, "delta": delta, "logprobs": log_probs, **ending, **of_reply}
    return {**_head(ident, "chat.completion.chunk", model), "choices": [choice], **of_prompt}


def usage_chunk(ident: str, model: str, reply: Reply) -> dict[str, Any]:
    """The chunk without a choice that `include_usage` asks for."""
    return {**_head(ident, "chat.completion.chunk", model), "choices": [], "usage": usage(reply.usage)}


def usage(used: UsageMetadata) -> dict[str, int]:
    """Tokens of all passes."""
    return {
        "prompt_tokens": used["input_tokens"],
        "completion_tokens": used["output_tokens"],
        "total_tokens": used["total_tokens"],
    }


def event(body: dict[str, Any]) -> bytes:
    """A body as a server-sent event."""
    return b"data: " + json.dumps(body, allow_nan=False).encode() + b"\n\n"


DONE = b"data: [DONE]\n\n"


def _head(ident: str, kind: str, model: str) -> dict[str, Any]:
    return {"id": ident, "object": kind, "created": int(time.time()), "model": model}


def _told(ids: TokenIds | None) -> tuple[dict[str, list[int]], dict[str, list[int]]]:
    """What stands beside the choices, and in the choice."""
    if ids is None:
        return {}, {}
    return {} if ids[0] is None else {"prompt_token_ids": ids[0]}, {"token_ids": ids[1]}


def _end(reply: Reply) -> dict[str, Any]:
    reason = reply.response_metadata["finish_reason"]
    known = reason if reason in ("stop", "tool_calls") else "length"  # a prompt that was too long was cut, too
    return {"finish_reason": known, "guardrail": reply.metadata}


def _calls(reply: Reply) -> list[dict[str, Any]]:
    return [
        {"id": c["id"], "type": "function", "function": {"name": c["name"], "arguments": json.dumps(c["args"])}}
        for c in reply.calls
    ]
