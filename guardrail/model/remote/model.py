"""A chat model behind an OpenAI-compatible endpoint, where the pipeline expects one in memory."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Hashable, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from functools import cached_property
from typing import Any

from guardrail.errors import EndpointError, ModelError
from guardrail.messages import as_messages
from guardrail.model.constraint import Constraint
from guardrail.model.identity import ModelIdentity, text_hash
from guardrail.model.loaded import check_switches
from guardrail.model.recording import Keep
from guardrail.model.remote.abilities import WITH_IDS, Abilities, abilities_of
from guardrail.model.remote.address import PREFIX, Address
from guardrail.model.remote.client import Client, Patience, StatusError
from guardrail.model.remote.replies import Reply, Token, reply_of
from guardrail.model.remote.streams import read_stream, shown_to
from guardrail.model.remote.traces import Reader, trace_of
from guardrail.model.remote.weightless import WeightlessModel
from guardrail.model.stopping import OnStep, check_decoding, check_stops
from guardrail.types import DEFAULT_MAX_NEW_TOKENS, Message, Tool, Trace
from guardrail.waiting import seconds_since

_COUNTED = {"stream_options": {"include_usage": True}}  # by which a reader sees whether the prompt was its own
_TOO_LONG = re.compile(r"context (length|size|window)", re.IGNORECASE)


class RemoteModel(WeightlessModel):
    """A chat model behind an OpenAI-compatible endpoint: vLLM, SGLang, llama.cpp, `guardrail serve`, OpenAI's own.

        model = RemoteModel("http://127.0.0.1:8000/v1", "smollm2-135m")
        Guard(model=model, policy="observe").answer("What is the capital of Japan?").score

    `Trace.log_probs` are what the endpoint says, where its tokens spell the answer; the end of the turn is not among them. The
    endpoint alone has tokenised the prompt.

    Args:
        url: The base address, which ends in `/v1` for most.
        name: The model's name there.
        chat_template_kwargs: Sent with each request, for engines that take them.
        patience: How long it is waited for, and how often it is asked again.
        concurrency: How many requests run at once, at most.

    Raises:
        ModelNotFoundError: The address is none.
        MissingExtraError: httpx is not installed.
    """

    def __init__(
        self,
        url: str,
        name: str,
        *,
        chat_template_kwargs: Mapping[str, Any] | None = None,
        patience: Patience | None = None,
        concurrency: int = 4,
    ) -> None:
        self.address = Address.of(f"{PREFIX}{url}#{name}")
        super().__init__(self.address.name, concurrency=concurrency)
        self.chat_template_kwargs = check_switches(chat_template_kwargs)
        self.client = Client(self.address, patience=patience)
        self._asking = threading.Lock()
        self._fingerprint: str | None = None
        self._wants_ids = False

    # What it is

    @cached_property
    def _found(self) -> Abilities:
        return abilities_of(self.client, self._more, ids=self._wants_ids)

    @property
    def abilities(self) -> Abilities:
        """What the endpoint allows, found by asking it once. Raises `EndpointError` where it cannot be asked."""
        with self._asking:
            return self._found

    def want_ids(self) -> None:
        """From now on ask for token ids, too, where the endpoint tells them (`RereadModel`)."""
        with self._asking:
            if not self._wants_ids:
                self._wants_ids = True
                self.__dict__.pop("_found", None)  # whether it tells them was not looked for

    @property
    def engine(self) -> str:
        """Who serves the model, as the endpoint tells, with what its last answer called its set-up; `unknown` if nothing."""
        found = self.abilities
        fingerprint = found.fingerprint if self._fingerprint is None else self._fingerprint
        return " ".join(filter(None, [found.engine, fingerprint])) or "unknown"

    @property
    def identity(self) -> ModelIdentity:
        """The model's name and the engine, as the endpoint tells; not its address. The weights behind a name may change."""
        said = json.dumps(self.chat_template_kwargs, sort_keys=True, default=repr) if self.chat_template_kwargs else ""
        return ModelIdentity(
            name=self.name,
            architecture="endpoint",
            weights=text_hash(f"{PREFIX}{self.name}"),
            dtype="unknown",
            chat_template=text_hash(said),
            engine=self.engine,
        )

    @property
    def version(self) -> Hashable:
        """Nobody here sees a change of the weights; that of the engine is one."""
        return self.engine

    # What it reads and says

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
        reader: Reader | None = None,
    ) -> list[Trace]:
        """Ask for an answer to each conversation, several at a time.

        Args and result are those of `LocalModel.generate_batch`. truncate, keep: nothing; the endpoint does neither. on_step:
        for one conversation, which is streamed then. reader: in whose token ids the Traces are; None spells the tokens.

        Raises:
            EndpointError: The endpoint cannot be asked, or what it answers is none.
            ModelError: Options that make no sense, and tools and constraints, which no endpoint is asked for, nor prefixes.
        """
        check_decoding(max_new_tokens, temperature, seed)
        if tools or any(prefixes) or any(c is not None for c in constraints):
            raise ModelError(
                f"{self.name} is behind an endpoint, which is asked for plain answers; leave tools, schemas and prefixes out, "
                "or load the weights here"
            )
        if on_step is not None and len(conversations) > 1:
            raise ModelError(f"an endpoint streams one answer at a time, not {len(conversations)}; ask one by one")
        options: dict[str, Any] = {"max_tokens": max_new_tokens, "temperature": float(temperature)}
        if seed is not None:
            options["seed"] = seed
        if stops := check_stops(stop):
            options["stop"] = list(stops)
        asked = [as_messages(c) for c in conversations]
        return self.each([lambda m=m: self._answer(m, options, on_step, reader) for m in asked])  # type: ignore[misc]

    def draw(
        self, messages: Sequence[Message], n: int, *, seed: int, max_new_tokens: int, temperature: float, top_p: float
    ) -> list[Trace]:
        """n sampled answers to one conversation, each asked for with a seed of its own: seed, seed + 1 and so on."""
        options: dict[str, Any] = {"max_tokens": max_new_tokens, "temperature": temperature}
        if top_p < 1:
            options["top_p"] = top_p
        asked = as_messages(messages)
        return self.each([lambda i=i: self._answer(asked, {**options, "seed": seed + i}) for i in range(n)])  # type: ignore[misc]

    def first_tokens(self, messages: Sequence[Message]) -> tuple[Token, ...]:
        """The likeliest first tokens of a reply, with their log-probabilities, nats, the drawn one first.

        Raises `EndpointError` where the endpoint gives none.
        """
        wanted = {"max_tokens": 1, "temperature": 0.0, "top_logprobs": max(self.abilities.top_log_probs, 1)}
        body = self.client.post("/chat/completions", self._body(as_messages(messages), wanted))
        reply = reply_of(body)
        self._note(reply)
        if not reply.tokens:
            raise EndpointError(
                f"{self.name} gave no log-probabilities of its reply's first token ({reply.why or 'none'})"
            )
        first = reply.tokens[0]
        return (first, *(Token(data, log_prob) for data, log_prob in first.top if data != first.data))

    @property
    def _more(self) -> dict[str, Any]:
        """What every request holds."""
        return {"chat_template_kwargs": self.chat_template_kwargs} if self.chat_template_kwargs else {}

    def _body(self, messages: Sequence[Message], options: Mapping[str, Any]) -> dict[str, Any]:
        told = [{key: value for key, value in m.items() if value is not None} for m in messages]
        more = {"logprobs": True} if self.abilities.log_probs else {}
        more |= WITH_IDS if self.abilities.token_ids else {}
        return {"model": self.name, "messages": told, **more, **self._more, **options}

    def _answer(
        self,
        messages: tuple[Message, ...],
        options: Mapping[str, Any],
        on_step: OnStep | None = None,
        reader: Reader | None = None,
    ) -> Trace:
        start = time.perf_counter()
        body = self._body(messages, options)
        prompt = (reader or self).encode_prompt(messages)

        def read(reply: Reply) -> Trace:
            stops = tuple(options.get("stop", ()))
            return (
                reader.read(messages, prompt, reply, stops)
                if reader
                else trace_of(messages, prompt, reply, bool(stops))
            )

        try:
            if on_step is None:
                reply = reply_of(self.client.post("/chat/completions", body))
            else:
                body |= {"stream": True} | (_COUNTED if reader else {})
                with closing(self.client.events("/chat/completions", body)) as events:
                    reply = read_stream(events, shown_to(on_step, read))
        except StatusError as error:
            if error.status not in (400, 413) or not _TOO_LONG.search(error.said):
                raise
            return Trace(messages, tuple(prompt), (), "", "prompt_too_long")
        self._note(reply)
        ms = seconds_since(start) * 1000
        return replace(read(reply), generate_ms=ms)

    def _note(self, reply: Reply) -> None:
        self._fingerprint = reply.fingerprint
