"""`GuardRunnable`: the guard as a step of a chain. It judges an answer together with what was asked.

An answer alone cannot be judged, and `prompt | model` hands on nothing else. So the guard either holds the model itself,

    prompt | GuardRunnable(guard, model=model) | parser

or is given both:

    {"messages": prompt, "answer": prompt | model} | GuardRunnable(guard) | parser
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from langchain_core.messages import AIMessage, BaseMessage, convert_to_messages
from langchain_core.prompt_values import PromptValue
from langchain_core.runnables import Runnable

from guardrail.errors import DataError
from guardrail.langchain.convert import to_chat_messages
from guardrail.langchain.events import adispatch_verdict, dispatch_verdict
from guardrail.langchain.metadata import METADATA_KEY
from guardrail.langchain.review import (
    Outcome,
    described,
    finish_reason_of,
    is_final,
    passed,
    review,
    said_by,
    shown,
    spoken,
    step,
    unstreamed,
)

if TYPE_CHECKING:
    from langchain_core.callbacks import AsyncCallbackManagerForChainRun, CallbackManagerForChainRun
    from langchain_core.runnables import RunnableConfig

    from guardrail.guard import Guard

_USAGE = (
    "write prompt | GuardRunnable(guard, model=model), or "
    '{"messages": prompt, "answer": prompt | model} | GuardRunnable(guard)'
)


class GuardRunnable(Runnable[Any, AIMessage]):
    """Answers go through the guard: what comes out is what the policy shows, with the verdict in its metadata.

        >>> chain = prompt | GuardRunnable(guard, model=model) | parser
        >>> chain.invoke({"question": "What is the capital of France?"})
        'Paris.'
        >>> GuardRunnable(guard).invoke({"messages": "What is the capital of France?", "answer": "Paris."}).text
        'Paris.'

    With `model` the input is what a chat model takes. Without it the input is `{"messages": what was asked, "answer": a
    message or text}`, and retrieve rules are passed over; a string as `messages` is a question and goes into the calibrator's
    prompt.

    Output: an `AIMessage` with `response_metadata["guardrail"]` and the id of the model's message. A message that a guard
    has judged already comes out as it is, a turn of tool calls without the text beside them. Sends the event
    `guardrail.verdict`.

    With `model` nothing streams out before the verdict, on any surface: the model's own run is hidden from
    `astream_events` and from LangGraph's `messages` mode. Without it the model has streamed before the guard is asked.

    Args:
        guard: On the answering model or on its local twin.
        model: A chat model, or a chain that ends in one; it is asked, and asked again with passages where the policy retrieves
            and the guard has a retriever.
        name: The step's name in traces; None is "GuardRunnable".

    Raises:
        DataError: When it is invoked, for an input that cannot be judged.
    """

    def __init__(self, guard: Guard, *, model: Runnable[Any, Any] | None = None, name: str | None = None) -> None:
        self.guard = guard
        self.model = model
        self.name = name or "GuardRunnable"

    def __repr__(self) -> str:
        return f"{self.name}({described(self.guard)})"

    def __deepcopy__(self, memo: dict[int, Any]) -> GuardRunnable:
        """Another one on the same guard and model: weights and locks are not copied."""
        return GuardRunnable(self.guard, model=self.model, name=self.name)

    def invoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> AIMessage:  # noqa: A002
        """The guarded answer to one input; `kwargs` go to the model."""
        return self._call_with_config(self._invoke, input, config, **kwargs)

    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> AIMessage:  # noqa: A002
        """`invoke`, with the model's async side; scoring runs in a worker thread."""
        return await self._acall_with_config(self._ainvoke, input, config, **kwargs)

    def _invoke(
        self, value: Any, run_manager: CallbackManagerForChainRun, config: RunnableConfig, **kwargs: Any
    ) -> AIMessage:
        if self.model is None:
            outcome = self._judged(value)
        else:
            reviewing, hidden = review(self.guard, _messages(value)), unstreamed(config)
            now = step(reviewing)
            while not isinstance(now, Outcome):
                now = step(reviewing, said_by(_message(self.model.invoke(now, hidden, **kwargs))))
            outcome = now
        if outcome.verdict:
            dispatch_verdict(outcome.message.response_metadata[METADATA_KEY], config)
        return outcome.message

    async def _ainvoke(
        self, value: Any, run_manager: AsyncCallbackManagerForChainRun, config: RunnableConfig, **kwargs: Any
    ) -> AIMessage:
        if self.model is None:
            outcome = await asyncio.to_thread(self._judged, value)
        else:
            reviewing, hidden = review(self.guard, _messages(value)), unstreamed(config)
            now = step(reviewing)
            while not isinstance(now, Outcome):
                said = said_by(_message(await self.model.ainvoke(now, hidden, **kwargs)))
                now = await asyncio.to_thread(step, reviewing, said)
            outcome = now
        if outcome.verdict:
            await adispatch_verdict(outcome.message.response_metadata[METADATA_KEY], config)
        return outcome.message

    def _judged(self, value: Any) -> Outcome:
        asked, answer = _pair(value)
        if not is_final(answer):
            return Outcome(passed(answer), None)
        text, finish = str(answer.text), finish_reason_of(answer)
        if isinstance(asked, str):
            verdict = self.guard.check(asked, text, finish_reason=finish)
        else:
            messages = to_chat_messages(asked)
            verdict = self.guard.check(messages, spoken(self.guard, messages, text), finish_reason=finish)
        return Outcome(shown(answer, verdict), verdict)


def _pair(value: Any) -> tuple[str | list[BaseMessage], AIMessage]:
    if not isinstance(value, Mapping) or not {"messages", "answer"} <= value.keys():
        what = f"a {type(value).__name__}" if not isinstance(value, Mapping) else f"the keys {sorted(value)}"
        raise DataError(f"an answer cannot be judged without what was asked, and the input is {what}; {_USAGE}")
    asked = value["messages"]
    return (asked if isinstance(asked, str) else _messages(asked)), _message(value["answer"])


def _messages(value: Any) -> list[BaseMessage]:
    """What a chat model takes -> messages."""
    if isinstance(value, PromptValue):
        return value.to_messages()
    if isinstance(value, BaseMessage):
        return [value]
    if isinstance(value, str):
        return convert_to_messages([value])
    if isinstance(value, Sequence):
        return convert_to_messages(value)
    raise DataError(f"a guarded model takes a prompt, messages or a text, not a {type(value).__name__}; {_USAGE}")


def _message(value: Any) -> AIMessage:
    if isinstance(value, AIMessage):
        return value
    if isinstance(value, str):
        return AIMessage(value)
    raise DataError(
        f"an answer is a model's message or its text, not a {type(value).__name__}; put the guard before the parser"
    )
