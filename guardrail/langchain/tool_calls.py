"""A response's text -> the tool calls in it.

Read: `<tool_call>{...}</tool_call>` (Hermes, Qwen), `[TOOL_CALLS] [{...}]` and `[TOOL_CALLS]name[ARGS]{...}` (Mistral), and a
response that is nothing but `{"name": ..., "parameters": ...}` (Llama 3). Not read: Python-like calls, XML parameters.
"""

from __future__ import annotations

import json
import re
from bisect import bisect_left
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from langchain_core.messages import InvalidToolCall, ToolCall
from langchain_core.messages.tool import invalid_tool_call, tool_call
from langchain_core.tools import StructuredTool

from guardrail.json_text import parse, parse_at
from guardrail.langchain.call_forms import HERMES, MISTRAL, MarkedText, spelt_markers
from guardrail.langchain.quotes import Quotes

_HERMES_END = "</tool_call>"
_CLOSED = re.compile(r"\s*</tool_call>")
_BLANK = re.compile(r"\s*")
_CONTROL = re.compile(r"<\|(?:python_tag|eom_id|eot_id)\|>")
_BETWEEN = re.compile(rf"(?:[; \n\t]|{_CONTROL.pattern})*+")
_MISTRAL_NAMED = re.compile(r"\s*([\w.-]+)\s*(?:\[CALL_ID\]\w*)?\[ARGS\]\s*")
_ARGUMENTS = ("arguments", "parameters")
_NAMING = ("name", "function")
_KEYS = {"name", "id", "type", *_ARGUMENTS}

Found = ToolCall | InvalidToolCall


@dataclass(frozen=True, slots=True)
class ParsedCalls:
    """text: what is beside the calls. calls: of tools that exist, with a JSON object as arguments. invalid: all others."""

    text: str
    calls: tuple[ToolCall, ...] = ()
    invalid: tuple[InvalidToolCall, ...] = ()


def parse_tool_calls(response: str | MarkedText, names: Collection[str]) -> ParsedCalls:
    """The calls in a response.

    A call that is cut off, is no strict JSON, names another tool, or has its arguments anywhere but under `arguments` or
    `parameters` is invalid, with an `error` that says so. Bare JSON counts as calls only if all of it is, and one of them is
    valid: it may as well be an answer.

        >>> parse_tool_calls('<tool_call>{"name": "add", "arguments": {"a": 1}}</tool_call>', ["add"]).calls[0]["args"]
        {'a': 1}

    Args:
        response: What the model wrote, without its thoughts. Of a plain string every marker counts as spelt text, and bare
            JSON may be a call.
        names: Of the tools that the model was offered.

    Returns:
        The calls, and the text beside them. A marker that is only quoted is text. Markers that are spelt text count only where
        the whole response consists of calls: nothing tells a call from a sentence that shows one, at its end as anywhere.
    """
    if isinstance(response, str):
        response = MarkedText(response, tuple(spelt_markers(response)), bare=True)
    found, beside = _marked(response.text, response.markers, names)
    if found is not None and (response.exact or not beside.strip()):
        return _parsed(beside.strip(), found)
    bare = list(_bare(response.text.strip(), names)) if response.bare and not response.markers else []
    if any(call["type"] == "tool_call" for call in bare) and all(call["name"] for call in bare):
        return _parsed("", bare)
    return ParsedCalls(_CONTROL.sub("", response.text).strip())


def _parsed(text: str, found: Sequence[Found]) -> ParsedCalls:
    calls = tuple(c for c in found if c["type"] == "tool_call")
    invalid = tuple(c for c in found if c["type"] == "invalid_tool_call")
    return ParsedCalls(text, calls, invalid)


def _marked(text: str, markers: Sequence[int], names: Collection[str]) -> tuple[list[Found] | None, str]:
    """The calls behind the markers that are not quoted, None where there is no such marker; and the text beside the calls."""
    found: list[Found] | None = None
    pieces: list[str] = []
    at, quotes = 0, Quotes(text)
    for place in markers:
        if place < at or quotes.hold(place, since=at):  # in a string of the call before, or only shown
            continue
        pieces.append(text[at:place])
        read = _hermes if text.startswith(HERMES, place) else _mistral
        calls, at = read(text, place, markers, names)
        found = found or []
        found += calls
    return found, "".join([*pieces, text[at:]])


def _hermes(text: str, place: int, markers: Sequence[int], names: Collection[str]) -> tuple[list[Found], int]:
    """The calls at a marker, and where the text goes on."""
    start = _end(_BLANK, text, place + len(HERMES))
    try:
        value, end = _value(text, start, markers)
        if closed := _CLOSED.match(text, end):
            return _calls(value, names), closed.end()
        end = _end(_BLANK, text, end)
        if end == _next(markers, end, text):
            return _calls(value, names), end
        error = "something follows the JSON"
    except ValueError as failed:
        error = str(failed)
    # Up to its last closing tag: one in a string of the broken JSON would leave the rest of it as text
    limit = _next(markers, start, text)
    closing = text.rfind(_HERMES_END, start, limit)
    end = limit if closing < 0 else closing
    invalid = _invalid(None, text[start:end], f"the call is no JSON: {error}")
    return [invalid], limit if closing < 0 else closing + len(_HERMES_END)


def _mistral(text: str, place: int, markers: Sequence[int], names: Collection[str]) -> tuple[list[Found], int]:
    start = _end(_BLANK, text, place + len(MISTRAL))
    named = _MISTRAL_NAMED.match(text, start)
    what, start = ("the call is", start) if named is None else ("the arguments are", named.end())
    limit = _next(markers, start, text)
    try:
        value, end = _value(text, start, markers)
        limit = _next(markers, end, text)
        if text[end:limit].strip():
            raise ValueError("something follows it")
    except ValueError as error:
        name = None if named is None else named[1]
        return [_invalid(name, text[start:limit], f"{what} no JSON: {error}")], limit
    return _calls(value if named is None else {"name": named[1], "arguments": value}, names), limit


def _value(text: str, start: int, markers: Sequence[int]) -> tuple[Any, int]:
    """The JSON value at `start`, and where it ends; raises as `parse_at` does.

    It is looked for up to the next marker, and beyond one only where that stands in a string: a reader of the whole rest, or
    an error that counts its lines, would take quadratic time over many broken calls.
    """
    limit = _next(markers, start, text)
    while True:
        try:
            value, length = parse_at(text[start:limit], 0)
            return value, start + length
        except json.JSONDecodeError as error:
            if limit == len(text) or not error.msg.startswith("Unterminated string"):
                raise
        limit = _next(markers, 2 * limit - start, text)


def _next(markers: Sequence[int], at: int, text: str) -> int:
    """The first marker from `at` on, or the end of the text."""
    i = bisect_left(markers, at)
    return markers[i] if i < len(markers) else len(text)


def _end(pattern: re.Pattern[str], text: str, at: int) -> int:
    """Where what the pattern takes at `at` ends; the pattern may take nothing."""
    found = pattern.match(text, at)
    return at if found is None else found.end()


def forms_among(tools: Collection[Any]) -> list[str]:
    """The names of tools that nothing can run, so that their arguments are all that anybody will have of them.

    An agent's `response_format` comes as such a tool. Classes and dicts may be run by whoever gave them.
    """
    return [t.name for t in tools if isinstance(t, StructuredTool) and t.func is None and t.coroutine is None]


def without_args(call: InvalidToolCall) -> InvalidToolCall:
    """An invalid call with its name and error only: its arguments are whatever the model wrote."""
    return invalid_tool_call(name=call["name"], args="", id=call["id"], error=call["error"])


def _bare(text: str, names: Collection[str]) -> Iterator[Found]:
    """Objects that follow one another, with `;`, white space or control tokens around, as Llama 3 writes parallel calls."""
    at, values = _end(_BETWEEN, text, 0), []
    while at < len(text):
        try:
            value, at = parse_at(text, at)
        except ValueError:
            return
        if not isinstance(value, (dict, list)) or (isinstance(value, dict) and value.keys().isdisjoint(_NAMING)):
            return
        values.append(value)
        at = _end(_BETWEEN, text, at)
    for value in values:
        yield from _calls(value, names)


def _calls(value: Any, names: Collection[str]) -> list[Found]:
    return [_call(item, names) for item in (value if isinstance(value, list) else [value])]


def _call(item: Any, names: Collection[str]) -> Found:
    raw = json.dumps(item)
    if isinstance(item, dict) and isinstance(item.get("function"), dict):
        outer, item = item, item["function"]
        if unknown := sorted(outer.keys() - {"function", "id", "type"}):
            return _invalid(None, raw, f"the call has unknown keys beside 'function': {', '.join(unknown)}")
    if not isinstance(item, dict) or not isinstance(item.get("name"), str):
        return _invalid(None, raw, "a call is an object with a name")
    name = item["name"]
    if unknown := sorted(item.keys() - _KEYS):
        return _invalid(name, raw, f"the arguments belong under 'arguments', not beside it: {', '.join(unknown)}")
    given = [item[key] for key in _ARGUMENTS if key in item]
    if len(given) > 1:
        return _invalid(name, raw, "the call has arguments under two keys")
    arguments = given[0] if given else {}
    if isinstance(arguments, str):  # some models write them as a string of JSON, as OpenAI's API does
        try:
            arguments = parse(arguments)
        except ValueError as error:
            return _invalid(name, arguments, f"the arguments are no JSON: {error}")
    if not isinstance(arguments, dict):
        return _invalid(name, raw, "the arguments are no JSON object")
    if name not in names:
        return _invalid(name, raw, f"there is no tool {name!r}; there are: {', '.join(sorted(names))}")
    return tool_call(name=name, args=arguments, id=_new_id())


def _invalid(name: str | None, raw: str, error: str) -> InvalidToolCall:
    return invalid_tool_call(name=name, args=raw, id=_new_id(), error=error)


def _new_id() -> str:
    """Nine letters and digits: Mistral's templates take no other length."""
    return uuid4().hex[:9]
