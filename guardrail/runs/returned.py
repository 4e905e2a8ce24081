"""What a chain returned -> the text that a person reads, and whether a model's answer is in it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from guardrail.segmentation import words_in
from guardrail.types import Verdict

_KEYS = ("structured_response", "answer", "output", "result", "text", "content", "messages")
_RAW = {"raw", "parsed", "parsing_error"}  # with_structured_output(..., include_raw=True)


def text_of(returned: object) -> str:
    """The text of a string, a verdict, a chat message, the last message of an agent's state, or what a parser made (`parsed`
    where `with_structured_output` gives the raw message, too).

    Of an object with one value, however deep, that value; of one with more, its JSON. Nothing where there is none.

        text_of({"messages": [..., AIMessage("Paris")]})     # "Paris"
        text_of({"capital": "Paris"})                         # "Paris"
    """
    if returned is None or isinstance(returned, str):
        return returned or ""
    if isinstance(returned, Verdict):
        return returned.answer
    if hasattr(returned, "content") and hasattr(returned, "type"):  # a chat message
        return _of_parts(returned.content)
    if isinstance(returned, Mapping):
        if returned.keys() == _RAW:
            return text_of(returned["parsed"])
        for key in _KEYS:
            if returned.get(key):
                return text_of(returned[key])
    if isinstance(returned, Sequence) and returned and hasattr(returned[-1], "content"):
        return text_of(returned[-1])
    plain = _plain(returned)
    leaves = list(_leaves(plain))
    if len(leaves) == 1:
        return str(leaves[0])
    return json.dumps(plain, ensure_ascii=False, default=str) if leaves else ""


def holds(text: str, answer: str) -> bool:
    """Whether a returned text holds a model's answer, or is a part of it that a parser took out; case, white space and
    punctuation do not count."""
    ours, theirs = (f" {' '.join(words_in(part.casefold()))} " for part in (text, answer))
    if not ours.strip() or not theirs.strip():
        return bool(answer.strip()) and answer.strip() in text
    return theirs in ours or ours in theirs


def _of_parts(content: object) -> str:
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    return "".join(part if isinstance(part, str) else str(part.get("text", "")) for part in parts)


def _plain(value: Any) -> Any:
    dump = getattr(value, "model_dump", None)
    return dump(mode="json") if callable(dump) and not isinstance(value, type) else value


def _leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, Mapping):
        for part in value.values():
            yield from _leaves(part)
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _leaves(part)
    elif value not in (None, ""):
        yield value
