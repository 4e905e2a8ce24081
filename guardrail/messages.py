"""What a user passes as a conversation -> checked chat messages. Knows nothing about templates or models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from guardrail.errors import DataError
from guardrail.types import FinishReason, GivenAnswer, Message

_OTHER_NAMES = {"human": "user", "ai": "assistant", "gpt": "assistant", "bot": "assistant"}


def as_messages(messages: str | Sequence[Message], system: str | None = None) -> tuple[Message, ...]:
    """A string becomes one user message; `system`, if given, goes in front. Content in parts becomes one text.

    The role `developer` is `system` under its newer name. Byte-order marks go. Raises `DataError` for what is no conversation:
    an empty list, a message without a role or without text (None is for turns with tool calls), a role that no chat template
    knows (`human`), parts that are not text, text that is not Unicode, two system messages.
    """
    if isinstance(messages, str):
        out: list[Message] = [{"role": "user", "content": messages}]
    elif isinstance(messages, Sequence) and messages:
        out = [*messages]
    else:
        raise DataError(f"a conversation is a string or a list of messages that is not empty, not {messages!r:.80}")
    if system is not None:
        check_text(system, "a system message")
    if system and isinstance(out[0], Mapping) and out[0].get("role") in ("system", "developer"):
        raise DataError("the conversation has a system message already; give one or the other")
    return tuple(_message(m) for m in ([{"role": "system", "content": system}, *out] if system else out))


def _message(message: object) -> Message:
    if not isinstance(message, Mapping) or not isinstance(message.get("role"), str):
        raise DataError(f'a message is a mapping such as {{"role": "user", "content": "..."}}, not {message!r:.80}')
    role = message["role"]
    if role in _OTHER_NAMES:
        raise DataError(f"chat templates do not know the role {role!r}; write {_OTHER_NAMES[role]!r}")
    content = message.get("content")
    if isinstance(content, list):
        content = "".join(_text_of(part) for part in content)
    if not isinstance(message.get("tool_calls") or [], list | tuple):
        raise DataError(f"a message's tool_calls are a list, not {message['tool_calls']!r:.80}")
    for call in message.get("tool_calls") or ():
        _check_call(call)
    if message.get("function_call"):
        raise DataError(
            "a message holds a function_call, which no chat template knows; write it as one of its tool_calls"
        )
    if not isinstance(content, str) and not (content is None and message.get("tool_calls")):
        raise DataError(f"a message's content is text, not {content!r:.80}")
    if content is not None:
        content = unmarked(check_text(content, "a message"))
    return {**message, "role": "system" if role == "developer" else role, "content": content}


def _check_call(call: object) -> None:
    function = call.get("function", call) if isinstance(call, Mapping) else None
    if not isinstance(function, Mapping) or not isinstance(function.get("name"), str) or not function["name"].strip():
        raise DataError(
            f'a tool call is a mapping such as {{"function": {{"name": "add", "arguments": {{"a": 5}}}}}}, not {call!r:.80}'
        )


def _text_of(part: object) -> str:
    if isinstance(part, str):
        return part
    if not isinstance(part, Mapping):
        raise DataError(f"a part of a message's content is a mapping, not {part!r:.80}")
    kind, text = part.get("type", "text"), part.get("text")
    if kind != "text" or not isinstance(text, str):
        raise DataError(
            f"a message holds a part of the type {kind!r:.40} beside its text; answers are scored given text alone, so leave "
            "such messages out, or say in words what the part shows"
        )
    return text


def before_answer(messages: Sequence[Message], answer: str) -> tuple[Message, ...]:
    """The messages without a last one that is the answer itself, as logs of whole conversations have it."""
    said = final_answer(messages)
    return tuple(messages[:-1] if said is not None and said.strip() == answer.strip() else messages)


def final_answer(messages: Sequence[Message]) -> str | None:
    """The text of a last message by the assistant that calls no tools; None where there is none."""
    last = messages[-1]
    if last["role"] != "assistant" or last.get("tool_calls") or not isinstance(last["content"], str):
        return None
    return last["content"]


def check_text(text: object, what: str) -> str:
    """`text`, if it is a string that has a UTF-8 form; raises `DataError` otherwise."""
    if not isinstance(text, str):
        raise DataError(f"{what} must be a string, not {text!r:.80}")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise DataError(f"{what} holds half a surrogate pair at character {error.start}; decode it as UTF-8") from error
    return text


def unmarked(text: str) -> str:
    """A text without the byte-order marks of the files that it was put together from; tokens of their own, to a model."""
    return text.replace("\ufeff", "")


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


def given_answer(given: object) -> GivenAnswer:
    """A text, or a text and why it ends, as what the second is. Raises `DataError` for anything else."""
    if isinstance(given, tuple) and len(given) == 2:
        return GivenAnswer(*given)
    return GivenAnswer(check_text(given, "an answer"))


def check_finish(reason: object) -> None:
    """Raises `DataError` for a finish reason that an answer which exists already cannot have."""
    if reason not in ("given", "stop", "length"):
        raise DataError(
            f"the finish reason of an answer that exists already is 'given', 'stop' or 'length' (cut off), not {reason!r:.80}"
        )
