"""Chunks of a streamed completion -> its Reply, and what was said so far after each of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

from guardrail.errors import EndpointError
from guardrail.model.remote.replies import (
    Reply,
    Token,
    choice_of,
    count_in,
    fingerprint_of,
    ids_in,
    ids_of,
    log_probs_in,
    said,
)
from guardrail.model.stopping import OnStep
from guardrail.types import Trace


def read_stream(chunks: Iterable[Any], seen: Callable[[Reply], bool]) -> Reply:
    """The Reply of all chunks. seen: is shown what was said so far after each; true ends the stream as a limit does.

    Log-probabilities count where every chunk with text has them. Raises `EndpointError` for a stream that ends without saying
    why.
    """
    text, thought, finish, fingerprint = "", "", None, ""
    prompt_tokens: int | None = None
    written: int | None = None
    tokens: list[Token] = []
    why, stop_string = "", False
    prompt_ids: tuple[int, ...] | None = None
    ids: list[int] = []

    def reply(finish: str) -> Reply:
        found = said(
            text, finish, why or tuple(tokens), thought=thought, stop_string=stop_string, prompt_tokens=prompt_tokens
        )
        known = tuple(ids) or (None if why else ids_of(tuple(tokens)))
        return replace(found, fingerprint=fingerprint, prompt_ids=prompt_ids, token_ids=known, written=written)

    for chunk in chunks:
        if not isinstance(chunk, Mapping):
            raise EndpointError("a chunk of the endpoint's stream is no object")
        if "error" in chunk:
            raise EndpointError("the endpoint's stream broke off with an error of its own; try again")
        fingerprint = fingerprint_of(chunk) or fingerprint
        usage = chunk.get("usage")
        if isinstance(usage, Mapping):
            prompt_tokens = count_in(usage, "prompt_tokens", prompt_tokens)
        prompt_ids = prompt_ids or ids_in(chunk.get("prompt_token_ids"))
        if not chunk.get("choices"):
            if isinstance(usage, Mapping):  # the last one; those beside text count what was written up to there
                written = count_in(usage, "completion_tokens", written)
            continue
        choice = choice_of(chunk)
        delta = choice.get("delta")
        delta = delta if isinstance(delta, Mapping) else {}
        ids += ids_in(choice.get("token_ids")) or ()
        new = delta.get("content") or ""
        thought += delta.get("reasoning_content") or delta.get("reasoning") or ""
        told = log_probs_in(choice.get("logprobs")) if choice.get("logprobs") else ()
        if isinstance(told, str) or (new and not told):
            why = why or (told if isinstance(told, str) else "a part of the stream came without log-probabilities")
        else:
            tokens += told
        text += new
        stop_string = stop_string or isinstance(choice.get("stop_reason"), str)
        finish = choice.get("finish_reason") or finish
        if new and seen(reply("length")):
            return reply("length")
    if finish is None:
        raise EndpointError(
            "the endpoint's stream ended without a finish reason, so a part of the answer may be missing"
        )
    return reply(finish)


def shown_to(on_step: OnStep, read: Callable[[Reply], Trace]) -> Callable[[Reply], bool]:
    """What `read_stream` takes as `seen`, where `on_step` watches the answer. read: makes the Trace of what was said so far."""

    def seen(so_far: Reply) -> bool:
        trace = read(so_far)
        return bool(on_step([list(trace.response_ids)], lambda: [trace]))

    return seen
