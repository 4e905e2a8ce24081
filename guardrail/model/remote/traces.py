"""What an endpoint said -> a Trace, as generation here makes one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from guardrail.model.remote.replies import Reply
from guardrail.model.remote.spelling import END, spelt, words_of
from guardrail.types import Message, Trace


class Reader(Protocol):
    """Who has tokens of its own, and makes Traces in them."""

    def encode_prompt(self, messages: tuple[Message, ...]) -> list[int]: ...

    def read(self, messages: tuple[Message, ...], prompt: list[int], reply: Reply, stops: Sequence[str]) -> Trace:
        """The Trace of a reply. prompt: ids of the messages. stops: the stop strings that were asked for."""


def trace_of(messages: tuple[Message, ...], prompt: Sequence[int], reply: Reply, stops: bool) -> Trace:
    """The Trace of a reply. prompt: ids that stand for the messages. stops: whether stop strings were asked for."""
    # the end of the turn stays out: many engines do not tell of it, and others not in streams
    known = reply.tokens[:-1] if reply.tokens and reply.ended else reply.tokens
    if known is None:
        ids, log_probs = words_of(reply.text), None
    else:
        ids = [spelt(token.data) for token in known]
        log_probs = tuple(token.log_prob for token in known)
    # as many as the endpoint has read: whoever counts tokens counts those
    filled = [*prompt, *[END] * max(0, (reply.prompt_tokens or 0) - len(prompt))]
    return Trace(
        messages,
        tuple(filled),
        tuple(ids),
        reply.text,
        reply.finish,
        stop_string=reply.stop_string or (stops and reply.finish == "stop"),  # most do not say what ended it
        log_probs=log_probs or None,
        thinking=reply.thinking,
        unfinished_thinking=reply.unfinished_thinking,
    )
