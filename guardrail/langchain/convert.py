"""LangChain messages -> chat-template messages. Knows nothing about models; what a chat template cannot show is refused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage, ChatMessage, HumanMessage, SystemMessage, ToolMessage

from guardrail.errors import DataError
from guardrail.types import Message

_NO_TEXT = {"reasoning", "thinking", "redacted_thinking", "tool_call", "tool_use", "tool_call_chunk", "function_call"}
"""Parts of an assistant's turn that are no text of the conversation: calls stand in `tool_calls`, thoughts are not repeated."""


def to_chat_messages(messages: Sequence[BaseMessage]) -> list[Message]:
    """Messages as chat templates take them: system, user, assistant (with tool calls) and tool.

        >>> to_chat_messages([HumanMessage("Who?")])
        [{'role': 'user', 'content': 'Who?'}]

    Content in parts becomes one text. Raises `DataError` for what is no text (images, audio, files), by name, and for
    messages that are no turn of a conversation.
    """
    return [_message(m) for m in messages]


def _message(message: BaseMessage) -> Message:
    match message:
        case SystemMessage():
            return {"role": "system", "content": text_of(message)}
        case HumanMessage():
            return {"role": "user", "content": text_of(message)}
        case AIMessage():
            return _assistant(message)
        case ToolMessage():
            named = {"name": message.name} if message.name else {}
            return {"role": "tool", "content": text_of(message), "tool_call_id": message.tool_call_id, **named}
        case ChatMessage():
            return {"role": message.role, "content": text_of(message)}
        case BaseMessage():
            raise DataError(
                f"a message of type {message.type!r} is no turn of a conversation; use system, human, ai or tool messages"
            )
        case _:
            raise DataError(f"a message is a LangChain message, not {message!r:.80}")


def _assistant(message: AIMessage) -> Message:
    out: dict[str, Any] = {"role": "assistant", "content": text_of(message)}
    if message.tool_calls:
        out["tool_calls"] = [
            {"type": "function", "id": call["id"], "function": {"name": call["name"], "arguments": call["args"]}}
            for call in message.tool_calls
        ]
    return out


def text_of(message: BaseMessage) -> str:
    """The text of a message's content, parts joined. Raises `DataError` for a part that is not text, by its type."""
    content = message.content
    if isinstance(content, str):
        return content
    return "".join(_text_of_part(part, message) for part in content)


def _text_of_part(part: Any, message: BaseMessage) -> str:
    if isinstance(part, str):
        return part
    kind = part.get("type", "without a type") if isinstance(part, Mapping) else type(part).__name__
    if isinstance(part, Mapping) and kind == "text" and isinstance(part.get("text"), str):
        return str(part["text"])
    if isinstance(message, AIMessage) and kind in _NO_TEXT:
        return ""
    raise DataError(
        f"a {message.type} message holds a part of type {kind!r}; guardrail reads text only, so take it out"
    )
