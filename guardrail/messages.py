"""What a user passes as a conversation -> checked chat messages. Knows nothing about templates or models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from guardrail.errors import DataError
from guardrail.types import FinishReason, Message


def as_messages(messages: str | Sequence[Message], system: str | None = None) -> tuple[Message, ...]:
    """A string becomes one user message; `system`, if given, goes in front. Content in parts becomes one text.

    Raises `DataError` for what is no conversation: an empty list, a message without a role or without text (None is for
    turns with tool calls), parts that are not text, text that is not Unicode, two system messages.
    """
    if isinstance(messages, str):
        out: list[Message] = [{"role": "user", "content": messages}]
    elif isinstance(messages, Sequence) and messages:
        out = [*messages]
    else:
        raise DataError(f"a conversation is a string or a list of messages that is not empty, not {messages!r:.80}")
    if system and isinstance(out[0], Mapping) and out[0].get("role") == "system":
        raise DataError("the conversation has a system message already; give one or the other")
    return tuple(_message(m) for m in ([{"role": "system", "content": system}, *out] if system else out))


def _message(message: object) -> Message:
    if not isinstance(message, Mapping) or not isinstance(message.get("role"), str):
        raise DataError(f'a message is a mapping such as {{"role": "user", "content": "..."}}, not {message!r:.80}')
    content = message.get("content")
    if isinstance(content, list) and all(isinstance(p, Mapping) and isinstance(p.get("text"), str) for p in content):
        content = "".join(p["text"] for p in content)
    if not isinstance(content, str) and not (content is None and message.get("tool_calls")):
        raise DataError(f"a message's content is text, not {content!r:.80}")
    if content is not None:
        check_text(content, "a message")
    return {**message, "content": content}


def check_text(text: object, what: str) -> str:
    """`text`, if it is a string that has a UTF-8 form; raises `DataError` otherwise."""
    if not isinstance(text, str):
        raise DataError(f"{what} must be a string, not {text!r:.80}")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise DataError(f"{what} holds half a surrogate pair at character {error.start}; decode it as UTF-8") from error
    return text


def question_at(messages: Sequence[Message]) -> int | None:
    """Where the last user message stands; None where there is none."""
    return next((i for i in reversed(range(len(messages))) if messages[i]["role"] == "user"), None)


def question_of(messages: Sequence[Message]) -> str:
    """The text of the last user message; "" where there is none."""
    at = question_at(messages)
    return "" if at is None else str(messages[at]["content"])


_CUT = {
    *("length", "max_tokens", "max_output_tokens", "max_new_tokens", "model_length", "incomplete", "pause_turn"),
    *("context_length", "model_context_window_exceeded", "insufficient_system_resource"),
    *("content_filter", "content_filtered", "guardrail_intervened", "refusal", "safety", "recitation", "blocklist"),
    *("prohibited_content", "spii", "error", "error_toxic", "error_limit", "abort", "cancelled", "user_cancel"),
}
"""Words of providers for an answer that something cut before its end: a limit, a filter, a failure."""


def finish_of(word: object) -> FinishReason:
    """A provider's word for why an answer ends, in ours: `length` where it was cut before its end, else `given`.

    >>> finish_of("MAX_TOKENS"), finish_of("end_turn"), finish_of(None)
    ('length', 'given', 'given')
    """
    plain = str(getattr(word, "name", word)).lower().replace("-", "_").replace(" ", "_")
    return "length" if plain in _CUT else "given"


def check_finish(reason: object) -> None:
    """Raises `DataError` for a finish reason that an answer which exists already cannot have."""
    if reason not in ("given", "stop", "length"):
        raise DataError(
            f"the finish reason of an answer that exists already is 'given', 'stop' or 'length' (cut off), not {reason!r:.80}"
        )
