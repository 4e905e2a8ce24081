"""What the callback, the middleware and the runnables share: a model's message in, the message to show out.

Knows nothing about agents or chains. `Guard.judge` decides; here are the steps between it and LangChain's values.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from langchain_core.callbacks import BaseCallbackManager
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage
from langchain_core.messages.ai import UsageMetadata, add_usage
from langchain_core.runnables.config import ensure_config

from guardrail.errors import DataError
from guardrail.langchain.convert import to_chat_messages
from guardrail.langchain.metadata import METADATA_KEY, is_judged, verdict_metadata
from guardrail.langchain.tool_calls import without_args
from guardrail.messages import finish_of
from guardrail.types import FinishReason, GivenAnswer, Message, Verdict

if TYPE_CHECKING:
    from langchain_core.runnables import RunnableConfig

    from guardrail.guard import Guard


@dataclass(frozen=True, slots=True)
class Said:
    """What the model gave. text: the part of it to judge; None where there is nothing to judge (a turn of tool calls)."""

    message: AIMessage
    text: str | None


@dataclass(frozen=True, slots=True)
class Outcome:
    """The message to show, and the verdict in it; None where the message passes as it is."""

    message: AIMessage
    verdict: Verdict | None


Review = Generator[list[BaseMessage], Said, Outcome]
"""Yields the messages to ask the model next, is sent what it said, returns the outcome."""

_FINISH_KEYS = ("finish_reason", "stop_reason", "done_reason", "stopReason", "status")
"""Where OpenAI, Mistral, Google and Hugging Face, Anthropic, Ollama, Bedrock, and OpenAI's responses say why an answer ends."""

_HARMLESS = ("finish_reason", "model", "model_name", "model_provider", "system_fingerprint", "token_usage")
"""Response metadata that says nothing of the text; log-probabilities, say, spell it out token by token."""


def review(guard: Guard, messages: Sequence[BaseMessage]) -> Review:
    """`Guard.judge` in LangChain's messages; whoever drives it, sync or async, calls the model."""
    judging = guard.judge(to_chat_messages(messages))
    asked, asking = next(judging), [*messages]
    used: list[UsageMetadata] = []
    while True:
        said = yield asking
        message = _with_usage(said.message, used)
        if said.text is None:
            return Outcome(passed(message), None)
        try:
            asked = judging.send(GivenAnswer(spoken(guard, asked, said.text), finish_reason_of(message)))
        except StopIteration as end:
            return Outcome(shown(message, end.value), end.value)
        asking = with_passages(messages, asked)


def _with_usage(message: AIMessage, before: list[UsageMetadata]) -> AIMessage:
    """The message with the tokens of the passes before it, too; adds its own to them."""
    if (own := message.usage_metadata) is None:
        return message
    summed = add_usage(before[-1], own) if before else own
    before.append(summed)
    return message.model_copy(update={"usage_metadata": summed})


def finish_reason_of(message: BaseMessage, generation_info: Mapping[str, Any] | None = None) -> FinishReason:
    """Why a foreign model's answer ends: `length` where its provider says that something cut it, else `given`.

    generation_info: of the generation that holds the message, where some providers say it.
    """
    for told in (message.response_metadata, generation_info or {}):
        incomplete = told.get("incomplete_details")
        words = [told.get(key) for key in _FINISH_KEYS]
        words += [incomplete.get("reason")] if isinstance(incomplete, Mapping) else []
        if any(finish_of(word) == "length" for word in words):
            return "length"
    return "given"


def step(reviewing: Review, said: Said | None = None) -> list[BaseMessage] | Outcome:
    """Send what the model said (nothing to begin with): the messages to ask next, or the outcome.

    A function and not `send` itself, because StopIteration cannot leave a worker thread.
    """
    try:
        return next(reviewing) if said is None else reviewing.send(said)
    except StopIteration as end:
        outcome: Outcome = end.value
        return outcome


def said_by(message: AIMessage) -> Said:
    """A model's message, with its text to judge if it is an answer that nobody has judged."""
    return Said(message, str(message.text) if is_final(message) else None)


def is_final(message: BaseMessage) -> bool:
    """Whether a model's message is an answer that no policy has been applied to; turns of tool calls are no answers.

    A verdict that was only noted does not count: a cache may hand out a message that a callback annotated before.
    """
    return isinstance(message, AIMessage) and not message.tool_calls and not is_judged(message)


def passed(message: AIMessage) -> AIMessage:
    """What may be shown of a message that is no answer to judge: of an unjudged turn of tool calls, the calls alone.

    The text beside the calls (content, reasoning, arguments of invalid calls, what providers add) may be an answer as well.
    """
    if not message.tool_calls or is_judged(message):
        return message
    fields = {
        **_bare(message, METADATA_KEY),
        "tool_calls": message.tool_calls,
        "invalid_tool_calls": [without_args(call) for call in message.invalid_tool_calls],
    }
    return AIMessage("").model_copy(update=fields)


def _bare(message: AIMessage, *more: str) -> dict[str, Any]:
    """The fields of a message that hold nothing of its text. more: keys of its metadata to keep."""
    kept = {key: message.response_metadata[key] for key in (*_HARMLESS, *more) if key in message.response_metadata}
    return {
        "id": message.id,
        "name": message.name,
        "usage_metadata": message.usage_metadata,
        "response_metadata": kept,
    }


def spoken(guard: Guard, messages: Sequence[Message], text: str) -> str:
    """The answer in what a model gave: `ChatHuggingFace` over a pipeline gives the prompt with the answer behind it."""
    template = getattr(guard.model.tokenizer, "chat_template", None)
    if not template or len(text) < len(str(messages[-1].get("content"))):
        return text
    prompt: str = guard.model.tokenizer.apply_chat_template(
        [dict(m) for m in messages], tokenize=False, add_generation_prompt=True
    )
    return text[len(prompt) :].strip() if text.startswith(prompt) else text


def shown(message: AIMessage, verdict: Verdict) -> AIMessage:
    """The message with the text that the policy lets out and the verdict in its metadata; its id stays.

    The id: in an agent's state a message with another id would stand beside the old one, not in its place. What else a
    message holds (content blocks, reasoning, log-probabilities) goes out with the answer as it is, and with nothing else.
    """
    note = {METADATA_KEY: verdict_metadata(verdict)}
    if verdict.action == "answer" and verdict.text == str(message.text):
        fields = {name: getattr(message, name) for name in AIMessage.model_fields if name != "type"}
        fields["response_metadata"] = {**message.response_metadata, **note}
    else:
        fields = {**_bare(message), "content": verdict.text}
        fields["response_metadata"] = {**fields["response_metadata"], **note}
    return AIMessage("").model_copy(update=fields)  # unchecked: a message from a cache has usage that would be refused


def with_passages(messages: Sequence[BaseMessage], asked: Sequence[Message]) -> list[BaseMessage]:
    """LangChain messages whose last human message reads as the last user message in `asked`."""
    content = next(m["content"] for m in reversed(asked) if m["role"] == "user")
    for at in reversed(range(len(messages))):
        if isinstance(messages[at], HumanMessage) or getattr(messages[at], "role", None) == "user":
            return [*messages[:at], messages[at].model_copy(update={"content": content}), *messages[at + 1 :]]
    raise DataError("there is no human message that a passage could join")


def described(guard: Guard | None) -> str:
    """A guard in the representation of what holds it."""
    return "None" if guard is None else f"Guard({guard.model!r}, policy={guard.policy.name!r})"


def unstreamed(config: RunnableConfig | None = None) -> RunnableConfig:
    """The config without the handlers that stream: a model called with it is traced, and shows its text to nobody.

    Those of `astream_events`, and of LangGraph's `stream` in mode `messages`, get every token of every model below them;
    a tag (`nostream`) stops the second kind only. Both can tap a run's output; we know of no other handler that can.
    """
    config = ensure_config(config)
    callbacks = config.get("callbacks")
    if isinstance(callbacks, BaseCallbackManager):
        callbacks = callbacks.copy()
        for handler in [*callbacks.handlers, *callbacks.inheritable_handlers]:
            if _streams(handler):
                callbacks.remove_handler(handler)
    elif callbacks is not None:
        callbacks = [handler for handler in callbacks if not _streams(handler)]
    return {**config, "callbacks": callbacks}


def _streams(handler: Any) -> bool:
    return hasattr(handler, "tap_output_iter")
