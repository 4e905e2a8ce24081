"""A response's text -> the tool calls in it. Knows nothing about models or messages.

Read: `<tool_call>{...}</tool_call>` (Hermes, Qwen), `[TOOL_CALLS] [{...}]` and `[TOOL_CALLS]name[ARGS]{...}` (Mistral), and a
response that is nothing but `{"name": ..., "parameters": ...}` (Llama 3). Not read: Python-like calls, XML parameters.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from langchain_core.messages import InvalidToolCall, ToolCall
from langchain_core.messages.tool import invalid_tool_call, tool_call
from langchain_core.tools import StructuredTool

_HERMES = re.compile(r"<tool_call>\s*(.*?)\s*(?:</tool_call>|$)", re.DOTALL)
_MISTRAL = "[TOOL_CALLS]"
_MISTRAL_NAMED = re.compile(r"\s*([\w.-]+)\s*(?:\[CALL_ID\]\w*)?\[ARGS\]\s*")
_CONTROL = re.compile(r"<\|(?:python_tag|eom_id|eot_id)\|>")


@dataclass(frozen=True, slots=True)
class ParsedCalls:
    """text: what is beside the calls. calls: of tools that exist, with a JSON object as arguments. invalid: all others."""

    text: str
    calls: tuple[ToolCall, ...] = ()
    invalid: tuple[InvalidToolCall, ...] = ()


def parse_tool_calls(text: str, names: Collection[str]) -> ParsedCalls:
    """The calls in a response. names: of the tools that the model was offered.

    A call that is cut off, is no JSON or names another tool is invalid, with an `error` that says so. Bare JSON counts as a
    call only if it names a tool: it may as well be an answer.

        >>> parse_tool_calls('<tool_call>{"name": "add", "arguments": {"a": 1}}</tool_call>', ["add"]).calls[0]["args"]
        {'a': 1}
    """
    found: list[ToolCall | InvalidToolCall]
    if "<tool_call>" in text:
        found = [c for m in _HERMES.finditer(text) for c in _read(m[1], names)]
        beside = _HERMES.sub("", text)
    elif _MISTRAL in text:
        beside, _, rest = text.partition(_MISTRAL)
        found = [c for part in rest.split(_MISTRAL) for c in _mistral(part, names)]
    else:
        beside = _CONTROL.sub("", text).strip()
        found = list(_bare(beside, names))
        if not any(call["type"] == "tool_call" for call in found):
            return ParsedCalls(beside)
        beside = ""
    calls = tuple(c for c in found if c["type"] == "tool_call")
    invalid = tuple(c for c in found if c["type"] == "invalid_tool_call")
    return ParsedCalls(beside.strip(), calls, invalid)


def forms_among(tools: Collection[Any]) -> list[str]:
    """The names of tools that nothing can run, so that their arguments are all that anybody will have of them.

    An agent's `response_format` comes as such a tool. Classes and dicts may be run by whoever gave them.
    """
    return [t.name for t in tools if isinstance(t, StructuredTool) and t.func is None and t.coroutine is None]


def without_args(call: InvalidToolCall) -> InvalidToolCall:
    """An invalid call with its name and error only: its arguments are whatever the model wrote."""
    return invalid_tool_call(name=call["name"], args="", id=call["id"], error=call["error"])


def _bare(text: str, names: Collection[str]) -> Iterator[ToolCall | InvalidToolCall]:
    """Objects that follow one another, with `;` or white space between, as Llama 3 writes parallel calls."""
    decoder, at = json.JSONDecoder(), 0
    values: list[Any] = []
    while at < len(text):
        try:
            value, at = decoder.raw_decode(text, at)
        except ValueError:
            return
        values.append(value)
        at += len(text[at:]) - len(text[at:].lstrip("; \n\t"))
    for value in values:
        for item in value if isinstance(value, list) else [value]:
            yield _call(item, json.dumps(item), names)


def _mistral(text: str, names: Collection[str]) -> Iterator[ToolCall | InvalidToolCall]:
    if (named := _MISTRAL_NAMED.match(text)) is None:
        yield from _read(text.strip(), names)
        return
    try:
        arguments = json.loads(text[named.end() :])
    except ValueError as error:
        yield _invalid(named[1], text[named.end() :], f"the arguments are no JSON: {error}")
        return
    yield _call({"name": named[1], "arguments": arguments}, text[named.end() :], names)


def _read(text: str, names: Collection[str]) -> Iterator[ToolCall | InvalidToolCall]:
    try:
        value = json.loads(text)
    except ValueError as error:
        yield _invalid(None, text, f"the call is no JSON: {error}")
        return
    for item in value if isinstance(value, list) else [value]:
        yield _call(item, json.dumps(item), names)


def _call(item: Any, raw: str, names: Collection[str]) -> ToolCall | InvalidToolCall:
    if isinstance(item, dict) and isinstance(item.get("function"), dict):
        item = item["function"]
    if not isinstance(item, dict) or not isinstance(item.get("name"), str):
        return _invalid(None, raw, "a call is an object with a name")
    arguments = item.get("arguments", item.get("parameters", {}))
    if isinstance(arguments, str):  # some models write them as a string of JSON, as OpenAI's API does
        try:
            arguments = json.loads(arguments)
        except ValueError as error:
            return _invalid(item["name"], arguments, f"the arguments are no JSON: {error}")
    if not isinstance(arguments, dict):
        return _invalid(item["name"], raw, "the arguments are no JSON object")
    if item["name"] not in names:
        return _invalid(item["name"], raw, f"there is no tool {item['name']!r}; there are: {', '.join(sorted(names))}")
    return tool_call(name=item["name"], args=arguments, id=_new_id())


def _invalid(name: str | None, raw: str, error: str) -> InvalidToolCall:
    return invalid_tool_call(name=name, args=raw, id=_new_id(), error=error)


def _new_id() -> str:
    """Nine letters and digits: Mistral's templates take no other length."""
    return uuid4().hex[:9]
