"""Tool calls of earlier turns in a prompt: whether the chat template shows them, with their arguments."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from markupsafe import escape

from guardrail.errors import ChatTemplateError
from guardrail.json_text import parse
from guardrail.types import Message

_MARK = "calledbefore{:06}"
_NUMBER = 717_000_000  # what numbers are replaced by, counted up


def call_left_out(
    render: Callable[[Sequence[Message]], str], rendered: str, messages: Sequence[Message], bare: Callable[[str], str]
) -> str | None:
    """The name of the first call that the prompt does not show, name and arguments; None where it shows all.

    Args:
        render: The template.
        rendered: What it makes of the messages.
        messages: Checked ones.
        bare: A rendered text as it is searched, without white space.

    What replaces names, keys, texts and numbers has to stand in the prompt, too, since a word of a call may stand there as a
    part of something else.
    """
    texts = [(name, _forms(text)) for message in messages for name, text in _texts(message)]
    if (name := _absent(texts, bare(rendered), bare)) is not None:
        return name
    if not texts:
        return None
    for names in (True, False):
        marks = _Marks(names=names)
        try:
            shown = render([marks.of(message) for message in messages])
        except ChatTemplateError:  # it knows tools by name
            continue
        return _absent(marks.wanted, bare(shown), bare)
    return texts[0][0]  # it takes nothing in their place, so nothing tells


def other_blanks(messages: Sequence[Message]) -> list[Message] | None:
    """The messages with None in place of "" and "" in place of None beside tool calls; None where there are no such.

    Templates take the one or the other for a turn that only calls tools.
    """
    swapped: list[Message] = [
        {**m, "content": "" if m["content"] is None else None} if m.get("tool_calls") and not m["content"] else m
        for m in messages
    ]
    return None if swapped == list(messages) else swapped


def in_words(messages: Sequence[Message]) -> list[list[Message]]:
    """The messages with each call as JSON in the assistant's text, for a template that knows no calls; none without calls."""
    if not any(m.get("tool_calls") for m in messages):
        return []
    return [[_worded(m) if m.get("tool_calls") else m for m in messages]]


def _worded(message: Message) -> Message:
    functions = [call.get("function", call) for call in message["tool_calls"]]
    lines = [
        json.dumps({"name": f["name"], "arguments": f.get("arguments")}, ensure_ascii=False, default=str)
        for f in functions
    ]
    rest: Message = {key: value for key, value in message.items() if key != "tool_calls"}
    return {**rest, "content": "\n".join(filter(None, [message["content"], *lines]))}


class _Marks:
    """Messages with a mark in place of everything that their calls say. wanted: of each call's name, a mark and its forms."""

    def __init__(self, *, names: bool) -> None:
        self._names = names
        self.wanted: list[tuple[str, tuple[str, ...]]] = []
        self._name = ""

    def of(self, message: Message) -> Message:
        if not message.get("tool_calls"):
            return message
        return {**message, "tool_calls": [self._call(call) for call in message["tool_calls"]]}

    def _call(self, call: Mapping[str, Any]) -> dict[str, Any]:
        function = call.get("function", call)
        self._name = str(function["name"])
        said = dict(function)
        if self._names:
            said["name"] = self._mark()
        if "arguments" in function:
            said["arguments"] = self._arguments(function["arguments"])
        return {**call, "function": said} if "function" in call else said

    def _arguments(self, arguments: Any) -> Any:
        if not isinstance(arguments, str):
            return self._value(arguments)
        try:
            value = parse(arguments)
        except ValueError:
            return self._value(arguments)
        return json.dumps(self._value(value))

    def _value(self, value: Any) -> Any:
        match value:
            case str():
                return self._mark() if value.strip() else value
            case bool():
                return value
            case int() | float():
                number = _NUMBER + len(self.wanted)
                self.wanted.append((self._name, (str(number), f"{number:,}")))
                return number
            case Mapping():
                return {self._mark(): self._value(inner) for inner in value.values()}
            case list() | tuple():
                return [self._value(inner) for inner in value]
        return value

    def _mark(self) -> str:
        mark = _MARK.format(len(self.wanted))
        self.wanted.append((self._name, (mark,)))
        return mark


def _absent(wanted: Sequence[tuple[str, tuple[str, ...]]], shown: str, bare: Callable[[str], str]) -> str | None:
    return next((name for name, forms in wanted if not any(bare(form) in shown for form in forms)), None)


def _forms(text: str) -> tuple[str, ...]:
    return (text, *(json.dumps(text, ensure_ascii=a)[1:-1] for a in (False, True)), str(escape(text)))


def _texts(message: Message) -> Iterator[tuple[str, str]]:
    """Every text of every call, with the call's name."""
    for call in message.get("tool_calls") or ():
        function = call.get("function", call)
        name = str(function["name"])
        yield name, name
        yield from ((name, text) for text in _leaves(function.get("arguments")))


def _leaves(value: Any) -> Iterator[str]:
    match value:
        case Mapping():
            for key, inner in value.items():
                yield str(key)
                yield from _leaves(inner)
        case list() | tuple():
            for inner in value:
                yield from _leaves(inner)
        case str():
            yield value
