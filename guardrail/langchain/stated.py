"""`StatedModel`: any LangChain chat model where the pipeline expects one in memory, judged by the confidence that it states.

Knows nothing about policies: a Guard, or `ChatGuarded`, applies those as to any other model.
"""

from __future__ import annotations

import json
import time
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, convert_to_messages
from langchain_core.tracers.context import tracing_v2_callback_var
from langsmith import tracing_context  # langchain-core brings it

from guardrail.deadlines import check_deadline, sooner
from guardrail.errors import EndpointError, ModelError
from guardrail.langchain.convert import text_of
from guardrail.langchain.review import finish_reason_of
from guardrail.langchain.settings import GuardedSettings
from guardrail.messages import as_messages
from guardrail.model.constraint import Constraint
from guardrail.model.identity import ModelIdentity, text_hash
from guardrail.model.recording import Keep
from guardrail.model.remote.abilities import Abilities
from guardrail.model.remote.replies import said
from guardrail.model.remote.traces import trace_of
from guardrail.model.remote.weightless import WeightlessModel
from guardrail.model.stopping import OnStep, check_decoding, check_stops
from guardrail.stated import Turn, Wording
from guardrail.types import DEFAULT_MAX_NEW_TOKENS, Message, Tool, Trace
from guardrail.waiting import OverdueError, seconds_since, within

SENT = ("temperature", "max_tokens")
"""LangChain's standard options that a call sets."""

_UNTOLD = "a chat model of LangChain tells no log-probabilities here"


class StatedModel(WeightlessModel):
    """A LangChain chat model without weights, whose confidence is what it states in words.

        >>> from langchain_core.language_models import FakeListChatModel
        >>> from guardrail.langchain import ChatGuarded, StatedModel
        >>> model = StatedModel(FakeListChatModel(responses=["Paris (with high confidence)"]), turn="same")
        >>> message = ChatGuarded(model=model, policy="observe").invoke("What is the capital of France?")
        >>> message.text, round(message.response_metadata["guardrail"]["score"]["number"], 2)
        ('Paris', 0.3)

    It goes wherever a `LocalModel` goes: into `Guard` and `ChatGuarded`, and into `guardrail.calibrate`, `evaluate` and `tune`.
    Unless told otherwise they take the scorer `verbalized`. A reply without a confidence that can be read has no score.

    Its calls are in no trace and stream to nobody, but to callbacks fixed to `chat` itself: what they say is not judged yet.
    What the chat model raises is raised as it is, but for calls of a scorer, which the policy's `on_error` decides on. Tools
    and schemas are not offered to it.

    Calibrators are bound to the model's name, as LangChain tells it, to the wording, and to the settings that no call sets;
    another class of chat model under that name makes confidences `extrapolated`. The weights behind a name may change, and
    nobody here sees it.

    Args:
        chat: The chat model.
        turn: Where it states its confidence: `after` asks once more, `same` asks with the question and takes it out of the
            answer. None is that of the wording, and `after` without one.
        wording: In which words; None for five labels.
        sent: Which of `temperature` and `max_tokens` go with each call. Leave out what the model refuses, and set it on the
            chat model; a call that asks for a temperature then is a `ModelError`.
        concurrency: How many calls of one batch run at once.

    Raises:
        ModelError: It is no chat model, or a guarded one; or options that make no sense.
    """

    def __init__(
        self,
        chat: BaseChatModel,
        *,
        turn: Turn | None = None,
        wording: Wording | None = None,
        sent: Sequence[str] = SENT,
        concurrency: int = 4,
    ) -> None:
        if not isinstance(chat, BaseChatModel):
            raise ModelError(
                f"a {type(chat).__name__} is no LangChain chat model; give the chat model itself, and put what is around it "
                "(with_retry, with_fallbacks) around the guarded one"
            )
        if isinstance(chat, GuardedSettings):
            raise ModelError(
                f"{type(chat).__name__} is guarded already, so its words may be its policy's; give chat.unguarded()"
            )
        if unknown := [name for name in sent if name not in SENT]:
            raise ModelError(f"sent has {unknown[0]!r}; a call sets {' and '.join(SENT)}, or fewer of them")
        if turn not in (None, "after", "same") or (wording is not None and turn not in (None, wording.turn)):
            raise ModelError(
                f"turn is {turn!r:.40}; it is 'after' or 'same', and that of the wording where one is given"
            )
        if wording is None:
            wording = Wording(turn="same").spelt_out() if turn == "same" else Wording()
        self.told = chat._get_ls_params()
        super().__init__(
            self.told.get("ls_model_name") or type(chat).__name__, wording=wording, concurrency=concurrency
        )
        self.chat, self.sent = chat, tuple(sent)
        self._uncached = chat.model_copy(update={"cache": False})

    # What it is

    @property
    def abilities(self) -> Abilities:
        """Text alone."""
        return Abilities(log_probs=False, top_log_probs=0, engine=self.engine)

    @property
    def engine(self) -> str:
        """The class of the chat model."""
        return type(self.chat).__name__

    @property
    def identity(self) -> ModelIdentity:
        """The model's name, what is asked of it with the question, and its settings; nobody here sees the weights."""
        settings = {name: self.told.get(f"ls_{name}") for name in SENT if name not in self.sent}
        asked = self.wording.model_dump(mode="json") if self.wording and self.wording.turn == "same" else None
        return ModelIdentity(
            name=self.name,
            architecture="endpoint",
            weights=text_hash(f"langchain:{self.name}"),
            dtype="unknown",
            chat_template=text_hash(json.dumps([asked, settings], sort_keys=True)),
            engine=self.engine,
        )

    @property
    def version(self) -> Hashable:
        """Nobody here sees a change of the weights."""
        return self.engine

    # What it says

    def generate_batch(
        self,
        conversations: Sequence[str | Sequence[Message]],
        *,
        max_new_tokens: int = DEFAULT_MAX_NEW_TOKENS,
        temperature: float = 0.0,
        seed: int | None = None,
        truncate: bool = False,
        keep: Keep | None = None,
        stop: str | Sequence[str] | None = None,
        tools: Sequence[Tool] = (),
        on_step: OnStep | None = None,
        constraints: Sequence[Constraint | None] = (),
        prefixes: Sequence[str] = (),
    ) -> list[Trace]:
        """Ask for an answer to each conversation, several at a time.

        Args and result are those of `LocalModel.generate_batch`. truncate, keep: nothing. on_step: called once, when all is
        said.

        Raises:
            ModelError: Options that cannot be kept: tools, constraints, a seed.
            EndpointError: The reply calls a tool.
        """
        check_decoding(max_new_tokens, temperature, seed)
        if tools or any(prefixes) or any(c is not None for c in constraints):
            raise ModelError(f"{self.name} is asked for plain answers; leave tools, schemas and prefixes out")
        if temperature > 0 and seed is not None:
            raise ModelError(f"{self.name} draws without a seed; leave seed={seed} out")
        asked = [as_messages(c) for c in conversations]
        options = self._options(max_new_tokens, temperature)
        stops = check_stops(stop)
        traces = self.each([partial(self._answer, self.chat, m, options, stops) for m in asked])
        if on_step is not None:
            on_step([list(trace.response_ids) for trace in traces], lambda: traces)
        return traces

    def draw(
        self, messages: Sequence[Message], n: int, *, seed: int, max_new_tokens: int, temperature: float, top_p: float
    ) -> list[Trace]:
        """n sampled answers to one conversation, past LangChain's cache. The seed is not used: others are drawn each time."""
        options = self._options(max_new_tokens, temperature) | ({"top_p": top_p} if top_p < 1 else {})
        return self.each([partial(self._answer, self._uncached, as_messages(messages), options)] * n)

    def reply(self, messages: str | Sequence[Message], *, max_new_tokens: int) -> Trace:
        """What it says, without being asked for a confidence beside it."""
        start, asked = time.perf_counter(), as_messages(messages)
        message = self._invoke(self.chat, asked, self._options(max_new_tokens, 0.0), ())
        return self._trace(asked, message, False, start)

    def _options(self, max_new_tokens: int, temperature: float) -> dict[str, Any]:
        if temperature > 0 and "temperature" not in self.sent:
            raise ModelError(
                f"{self.name} is sent no temperature, so {temperature} cannot be kept; set it on the chat model"
            )
        options = {"temperature": float(temperature), "max_tokens": max_new_tokens}
        return {name: value for name, value in options.items() if name in self.sent}

    def _answer(
        self,
        chat: BaseChatModel,
        messages: tuple[Message, ...],
        options: Mapping[str, Any],
        stops: Sequence[str] = (),
    ) -> Trace:
        start = time.perf_counter()
        return self._trace(messages, self._invoke(chat, self._asking(messages), options, stops), bool(stops), start)

    def _asking(self, messages: tuple[Message, ...]) -> tuple[Message, ...]:
        """The conversation with what asks for the confidence, behind the last that the user says."""
        if self.wording is None or self.wording.turn != "same":
            return messages
        at = max((i for i, m in enumerate(messages) if m["role"] == "user"), default=None)
        if at is None:
            raise ModelError(
                f"{self.name} is asked for its confidence behind a user's message, and there is none; add one"
            )
        asked = {**messages[at], "content": f"{messages[at]['content']}{self.wording.instruction}"}
        return (*messages[:at], asked, *messages[at + 1 :])

    def _invoke(
        self, chat: BaseChatModel, messages: Sequence[Message], options: Mapping[str, Any], stops: Sequence[str]
    ) -> AIMessage:
        """No callbacks, nor a tracer that the environment switches on: they would be told a text that nobody has judged."""
        given = convert_to_messages([dict(m) for m in messages])

        def call() -> AIMessage:
            tracer = tracing_v2_callback_var.set(None)
            try:
                with tracing_context(enabled=False):
                    return chat.invoke(given, {"callbacks": []}, stop=list(stops) or None, **options)
            finally:
                tracing_v2_callback_var.reset(tracer)

        try:
            return within(sooner(None), call)
        except OverdueError:
            check_deadline()  # the caller's, which is no failure of the model
            raise

    def _trace(self, messages: tuple[Message, ...], message: AIMessage, stops: bool, start: float) -> Trace:
        if message.tool_calls or message.invalid_tool_calls:
            raise EndpointError(f"{self.name} gave an answer that is none: it calls a tool, and none was offered")
        usage = message.usage_metadata
        thought = message.additional_kwargs.get("reasoning_content")
        reply = said(
            text_of(message),
            "length" if finish_reason_of(message) == "length" else "stop",
            _UNTOLD,
            thought=thought if isinstance(thought, str) else "",
            prompt_tokens=usage["input_tokens"] if usage else None,
        )
        stated = self.without_confidence(reply.text)
        trace = trace_of(messages, self.encode_prompt(messages), replace(reply, text=stated.answer), stops)
        return replace(trace, stated=stated.bin, generate_ms=seconds_since(start) * 1000)
