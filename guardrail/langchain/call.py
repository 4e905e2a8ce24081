"""One call of a guarded chat model: its conversation and its options, checked. Knows nothing about how it is answered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Any, Literal

from langchain_core.messages import BaseMessage, HumanMessage

from guardrail.errors import DataError, ModelError
from guardrail.langchain.convert import text_of, to_chat_messages
from guardrail.model.stopping import check_stops
from guardrail.types import Message, Tool

AsQuestion = Literal["string", "single", "never"]
"""What counts as a question, to be put into the calibration's prompt: a string that was passed in place of messages; also a
conversation of one human message; nothing."""

MARK = "guardrail_question"
"""In `additional_kwargs` of a human message that a user passed as a plain string."""

_IGNORED = {
    "stream",
    "strict",
    "parallel_tool_calls",
    "ls_structured_output_format",
}  # LangChain's own, without effect here

_KINDS: dict[str, Any] = {"max_tokens": int | None, "seed": int | None, "temperature": int | float}


@dataclass(frozen=True, slots=True)
class Options:
    """How to answer. max_tokens: None is the guard's usual length. Others as in `Guard.answer_batch`."""

    max_tokens: int | None = None
    temperature: float = 0.0
    seed: int | None = None
    stop: tuple[str, ...] = ()
    tools: tuple[Tool, ...] = ()
    score_tool_calls: bool = False

    @property
    def tool_names(self) -> list[str]:
        return [tool["function"]["name"] for tool in self.tools]

    def changed(self, stop: Sequence[str] | None, given: Mapping[str, Any]) -> Options:
        """These options with a call's own. Raises `ModelError` for one that does not exist, and for tools of no known form."""
        known = {"max_tokens", "temperature", "seed", "tools", "tool_choice", "score_tool_calls"}
        for name in given.keys() - known - _IGNORED:
            near = get_close_matches(name, known | {"stop"}, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are: stop, {', '.join(sorted(known))}"
            raise ModelError(f"a call has no option {name!r}; {hint}")
        new: dict[str, Any] = {k: given[k] for k in ("max_tokens", "seed") if k in given}
        new |= {k: given[k] for k in ("temperature", "score_tool_calls") if given.get(k) is not None}
        if stop:
            new["stop"] = check_stops(stop)
        if given.get("tools"):
            new["tools"] = _offered(given["tools"], given.get("tool_choice"))
        for name, kinds in _KINDS.items():
            if not isinstance(new.get(name, 0), kinds) or isinstance(new.get(name), bool):
                raise ModelError(f"{name} is {new[name]!r:.40}; it must be a number")
        return replace(self, **new) if new else self


@dataclass(frozen=True, slots=True)
class Call:
    """A conversation (a question is a string, see `AsQuestion`) and how to answer it."""

    conversation: str | Sequence[Message]
    options: Options


def conversation_of(messages: Sequence[BaseMessage], as_question: AsQuestion, options: Options) -> str | list[Message]:
    """What a Guard is asked. Raises `DataError` for an empty conversation and for parts that are not text."""
    if not messages:
        raise DataError("the conversation is empty; give at least one message")
    only = messages[0]
    if len(messages) == 1 and isinstance(only, HumanMessage) and not options.tools:
        marked = MARK in only.additional_kwargs
        if (as_question == "string" and marked) or as_question == "single":
            return text_of(only)
    return to_chat_messages(messages)


def _offered(tools: Sequence[Tool], choice: Any) -> tuple[Tool, ...]:
    """The tools that the model is shown. Naming one leaves the others out; nothing can force a local model to call it."""
    if any(not isinstance(t, Mapping) or "name" not in t.get("function", {}) for t in tools):
        raise ModelError("tools come from bind_tools, or are objects {'type': 'function', 'function': {'name': ...}}")
    if choice == "none":
        return ()
    if isinstance(choice, Mapping):
        choice = choice.get("function", {}).get("name")
    if not isinstance(choice, str) or choice in {"auto", "any", "required"}:
        return tuple(tools)
    named = tuple(t for t in tools if t["function"]["name"] == choice)
    if not named:
        names = ", ".join(t["function"]["name"] for t in tools)
        raise ModelError(f"tool_choice names {choice!r}, and there is no such tool; there are: {names}")
    return named
