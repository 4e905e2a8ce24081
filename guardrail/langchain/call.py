"""One call of a guarded chat model: its conversation and its options, checked."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from numbers import Integral, Real
from typing import Any, Literal

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage

from guardrail.deadlines import Deadline, check_timeout
from guardrail.errors import DataError, ModelError
from guardrail.langchain.convert import text_of, to_chat_messages
from guardrail.langchain.metadata import is_judged, read_metadata
from guardrail.langchain.standard_options import LANGCHAINS, own_options
from guardrail.model.stopping import check_stops
from guardrail.pipeline.conversation import SearchContext
from guardrail.types import Message, Tool

AsQuestion = Literal["string", "single", "never"]
"""What counts as a question, to be put into the calibration's prompt: a string that was passed in place of messages; also a
conversation of one human message; nothing."""

MARK = "guardrail_question"
"""In `additional_kwargs` of a human message that a user passed as a plain string."""

_OF_A_CALL = {"max_tokens", "temperature", "seed", "timeout", "tools", "tool_choice", "score_tool_calls"}
_AUTO = (None, "auto", "none")  # choices that leave it to the model, or to nobody


@dataclass(frozen=True, slots=True)
class Options:
    """How to answer. max_tokens: None is the guard's usual length. timeout: seconds, None is no limit. score_tool_calls: judge
    turns that call tools: all, or those that call one of these. forced: the answer is to be a call. schema: JSON text of the
    schema that the answer is to have; kept: decoding keeps it so. Others as in `Guard.answer_batch`."""

    max_tokens: int | None = None
    temperature: float = 0.0
    seed: int | None = None
    stop: tuple[str, ...] = ()
    tools: tuple[Tool, ...] = ()
    score_tool_calls: bool | tuple[str, ...] = False
    timeout: float | None = None
    forced: bool = False
    schema: str | None = None
    kept: bool = False

    @property
    def tool_names(self) -> list[str]:
        return [tool["function"]["name"] for tool in self.tools]

    @property
    def forms(self) -> tuple[str, ...]:
        """Tools whose arguments are the answer, so that a turn that calls one is judged; the others' turns are not."""
        return self.score_tool_calls if isinstance(self.score_tool_calls, tuple) else ()

    def changed(self, stop: Sequence[str] | None, given: Mapping[str, Any]) -> Options:
        """These options with a call's own. Raises `ModelError` for one that does not exist, that cannot be kept, or is of the
        wrong kind, and for tools of no known form."""
        asked = given.get("response_format")
        given = {name: value for name, value in given.items() if name != "response_format"}
        if asked is not None and given.get("strict"):  # an agent says it of both
            given.pop("strict")
        given = own_options({name: given[name] for name in given.keys() - LANGCHAINS}, _OF_A_CALL | {"stop"}, "a call")
        new: dict[str, Any] = {k: plain_number(k, given[k]) for k in ("max_tokens", "seed") if k in given}
        if given.get("temperature") is not None:
            new["temperature"] = plain_number("temperature", given["temperature"])
        if "timeout" in given:
            new["timeout"] = check_timeout(given["timeout"])
        if stop:
            new["stop"] = check_stops(stop)
        tools = given.get("tools") or ()
        if (shown := _offered(tools, given.get("tool_choice"))) != self.tools:
            new["tools"] = shown
        if shown and not _is_auto(given.get("tool_choice")):
            new["forced"] = True
        if (asked := schema_asked(asked)) is not None:
            new["schema"], new["kept"] = asked
        if given.get("score_tool_calls") is not None:
            new["score_tool_calls"] = _judged_calls(given["score_tool_calls"], [t["function"]["name"] for t in tools])
        return replace(self, **new) if new else self


def _is_auto(choice: Any) -> bool:
    return isinstance(choice, str | None) and choice in _AUTO


def schema_asked(response_format: Any) -> tuple[str, bool] | None:
    """The schema in OpenAI's `response_format`, as JSON text, and whether decoding is to keep to it; None for plain text.

    Raises `ModelError` for what is of no form that it has.
    """
    if response_format is None:
        return None
    kind = response_format.get("type") if isinstance(response_format, Mapping) else None
    if kind == "text":
        return None
    if kind == "json_object":
        return json.dumps({"type": "object"}), True
    wanted = response_format.get("json_schema") if kind == "json_schema" else None
    if not isinstance(wanted, Mapping) or not isinstance(wanted.get("schema"), Mapping):
        raise ModelError(
            f"response_format is {response_format!r:.80}; it is {{'type': 'text'}}, {{'type': 'json_object'}} or "
            "{'type': 'json_schema', 'json_schema': {'name': ..., 'schema': {...}}}; with_structured_output makes one"
        )
    return json.dumps(wanted["schema"]), wanted.get("strict") is not False


def plain_number(name: str, value: Any) -> int | float | None:
    """A number as Python's own; NumPy's count too. Raises `ModelError` for anything else, booleans among them.

    None is left as it is. `temperature` may be any real number, the others are whole ones.
    """
    if value is None:
        return None
    if name == "temperature" and isinstance(value, Real) and not isinstance(value, bool):
        return float(value)
    if name == "temperature" or not isinstance(value, Integral) or isinstance(value, bool):
        raise ModelError(f"{name} is {value!r:.40}; it must be a {'' if name == 'temperature' else 'whole '}number")
    return int(value)


@dataclass(frozen=True, slots=True)
class Call:
    """A conversation (a question is a string, see `AsQuestion`), how to answer it, and where its evidence is searched.
    internal: what LangChain itself asks for, such as "summarization"; "" for a call of a user or an agent. deadline: of its
    timeout."""

    conversation: str | Sequence[Message]
    options: Options
    search_context: SearchContext = field(default=nullcontext, compare=False, repr=False)
    internal: str = field(default="", compare=False)
    deadline: Deadline | None = field(default=None, compare=False)


def conversation_of(messages: Sequence[BaseMessage], as_question: AsQuestion, options: Options) -> str | list[Message]:
    """What a Guard is asked. Raises `DataError` for an empty conversation, a blank last message, parts that are not text, and
    where an agent asks again for a structured answer that was held back: it would ask for ever."""
    if not messages:
        raise DataError("the conversation is empty; give at least one message")
    if isinstance(messages[-1], HumanMessage) and not text_of(messages[-1]).strip():
        raise DataError("the last message is blank; there is nothing to answer, so ask something")
    if options.forms and (decided := _held_back(messages[-1])):
        raise DataError(
            f"the policy decided {decided!r} on the structured answer, and the agent asks for it again; give the agent "
            "middleware=[GuardrailMiddleware()], which ends the run there"
        )
    only = messages[0]
    if len(messages) == 1 and isinstance(only, HumanMessage) and not options.tools:
        marked = MARK in only.additional_kwargs
        if (as_question == "string" and marked) or as_question == "single":
            return text_of(only)
    return to_chat_messages(messages)


def _held_back(message: BaseMessage) -> str | None:
    """What a guard decided on a message, if it was not to let it through."""
    if not isinstance(message, AIMessage) or message.tool_calls or not is_judged(message):
        return None
    verdict = read_metadata(message)
    return None if verdict is None or verdict["action"] == "answer" else verdict["action"]


def _offered(tools: Sequence[Tool], choice: Any) -> tuple[Tool, ...]:
    """The tools that the model is shown. Naming one leaves the others out."""
    if any(not isinstance(t, Mapping) or "name" not in t.get("function", {}) for t in tools):
        raise ModelError("tools come from bind_tools, or are objects {'type': 'function', 'function': {'name': ...}}")
    if isinstance(choice, Mapping):
        choice = choice.get("function", choice).get("name", choice)
    if choice is None or choice in ("auto", "none"):
        return () if choice == "none" else tuple(tools)
    if not tools:
        raise ModelError(
            f"tool_choice is {choice!r:.40}, and the call has no tools; give them (bind_tools), or leave it out"
        )
    if choice is True or choice in ("any", "required"):
        return tuple(tools)
    named = tuple(t for t in tools if t["function"]["name"] == choice)
    if not named:
        names = ", ".join(t["function"]["name"] for t in tools)
        raise ModelError(f"tool_choice names {choice!r:.40}, and there is no such tool; there are: {names}")
    return named


def _judged_calls(value: Any, names: Collection[str]) -> bool | tuple[str, ...]:
    """Which tools' calls are judged. Raises `ModelError` for what is neither a bool nor names of tools that there are."""
    if isinstance(value, bool):
        return value
    if isinstance(value, str) or not isinstance(value, Collection) or not all(isinstance(n, str) for n in value):
        raise ModelError(f"score_tool_calls is {value!r:.40}; it is True, False, or a list of tools' names")
    if unknown := [name for name in value if name not in names]:
        raise ModelError(f"score_tool_calls names {unknown}, and the call's tools are: {', '.join(names) or 'none'}")
    return tuple(value)
