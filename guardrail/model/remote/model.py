"""A chat model behind an OpenAI-compatible endpoint, where the pipeline expects one in memory."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from functools import cached_property
from typing import Any, NoReturn

import torch

from guardrail.deadlines import Lock
from guardrail.errors import EndpointError, ModelError, UnsupportedModelError
from guardrail.messages import as_messages, check_finish, check_text
from guardrail.model.constraint import Constraint
from guardrail.model.identity import ModelIdentity, text_hash
from guardrail.model.loaded import check_switches
from guardrail.model.local import LocalModel
from guardrail.model.recording import Keep
from guardrail.model.remote.abilities import WITH_IDS, Abilities, abilities_of
from guardrail.model.remote.address import PREFIX, Address
from guardrail.model.remote.client import Client, Patience, StatusError
from guardrail.model.remote.replies import Reply, Token, reply_of
from guardrail.model.remote.side_by_side import side_by_side
from guardrail.model.remote.spelling import END, Speller, spelt, words_of
from guardrail.model.remote.streams import read_stream, shown_to
from guardrail.model.remote.traces import Reader, trace_of
from guardrail.model.stopping import OnStep, check_decoding, check_stops
from guardrail.plain_text import trimmed
from guardrail.stated import Stated
from guardrail.types import DEFAULT_MAX_NEW_TOKENS, FinishReason, Message, Tool, Trace
from guardrail.waiting import seconds_since

_TOO_LONG = re.compile(r"context (length|size|window)", re.IGNORECASE)


class RemoteModel(LocalModel):
    """A chat model behind an OpenAI-compatible endpoint: vLLM, SGLang, llama.cpp, `guardrail serve`, OpenAI's own.

        model = RemoteModel("http://127.0.0.1:8000/v1", "smollm2-135m")
        Guard(model=model, policy="observe").answer("What is the capital of Japan?").score

    It stands where a `LocalModel` stands, and has no weights: whatever needs them raises `UnsupportedModelError`, and a scorer
    that does is refused by name. Token ids in its Traces spell their tokens (`remote.spelling`); those of a prompt stand for
    its messages, which the endpoint alone has tokenised. `Trace.log_probs` are what the endpoint says, where its tokens spell
    the answer; the end of the turn is not among them.

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

    has_weights = False
    answers_here = False
    wants_ids = False
    """Whether it asks for token ids, too, where the endpoint tells them (`RereadModel`)."""

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
        self.name = self.address.name
        self.chat_template_kwargs = check_switches(chat_template_kwargs)
        if isinstance(concurrency, bool) or not isinstance(concurrency, int) or concurrency < 1:
            raise ModelError(f"concurrency is {concurrency!r:.40}; it is the number of requests at once, at least 1")
        self.concurrency = concurrency
        self.client = Client(self.address, patience=patience)
        self.tokenizer = Speller()
        self.lock = Lock()
        self.wording, self.taught, self.confidence_adapter = None, frozenset(), None
        self._asking = threading.Lock()
        self._fingerprint: str | None = None

    # What it is

    @cached_property
    def _found(self) -> Abilities:
        return abilities_of(self.client, self._more, ids=self.wants_ids)

    @property
    def abilities(self) -> Abilities:
        """What the endpoint allows, found by asking it once. Raises `EndpointError` where it cannot be asked."""
        with self._asking:
            return self._found

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

    @property
    def context(self) -> int | None:
        """None: nobody here counts the tokens of a prompt, and the endpoint refuses one that is too long."""
        return None

    @property
    def device(self) -> torch.device:
        """Where the requests are made."""
        return torch.device("cpu")

    @property
    def eos_ids(self) -> list[int]:
        return [END]

    @property
    def end_tokens(self) -> list[str]:
        return []

    @property
    def takes_tools(self) -> bool:
        """Tools are not offered to an endpoint: what it makes of them has no score."""
        return False

    def _needs_weights(self) -> NoReturn:
        raise UnsupportedModelError(
            f"{self.name} is behind an endpoint, and this needs its weights; `guardrail model inspect {PREFIX}URL#NAME` lists "
            "the scorers that work there; load the weights here for the others"
        )

    @property
    def model(self) -> NoReturn:  # type: ignore[override]
        self._needs_weights()

    @property
    def anatomy(self) -> NoReturn:
        self._needs_weights()

    @property
    def semantic_token(self) -> NoReturn:
        self._needs_weights()

    @contextmanager
    def shared(self, *_: Any, **__: Any) -> Iterator[None]:  # type: ignore[override]
        """Nothing to share: requests run side by side anyway."""
        yield None

    # What it reads and says

    def encode_prompt(self, messages: str | Sequence[Message], tools: Sequence[Tool] = ()) -> list[int]:
        """An id for each message, which spells it: the endpoint has the tokens. Raises `ModelError` for tools."""
        if tools:
            raise ModelError(f"{self.name} is behind an endpoint, which is offered no tools; leave them out")
        return [spelt(json.dumps(dict(m), sort_keys=True, default=repr).encode()) for m in as_messages(messages)]

    def encode_response(self, text: str, *, ended: bool = True) -> list[int]:
        return [*words_of(text), *([END] if ended else [])]

    def unthinking(self, prompt: Sequence[int]) -> list[int]:
        return []

    def without_confidence(self, text: str) -> Stated:
        return Stated(text, None)

    def trace(self, messages: str | Sequence[Message], answer: str, *, finish_reason: FinishReason = "given") -> Trace:
        """The Trace of an answer that exists already, without log-probabilities: an endpoint gives none of a given text."""
        check_finish(finish_reason)
        conversation = as_messages(messages)
        text = trimmed(check_text(answer, "an answer"))
        ids = self.encode_response(text, ended=finish_reason != "length")
        return Trace(conversation, tuple(self.encode_prompt(conversation)), tuple(ids), text, finish_reason)

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
        reader: Reader | None = None,
    ) -> list[Trace]:
        """Ask for an answer to each conversation, several at a time.

        Args and result are those of `LocalModel.generate_batch`. truncate, keep: nothing; the endpoint does neither. on_step:
        for one conversation, which is streamed then. reader: in whose token ids the Traces are; None spells the tokens.

        Raises:
            EndpointError: The endpoint cannot be asked, or what it answers is none.
            ModelError: Options that make no sense, and tools and constraints, which no endpoint is asked for.
        """
        check_decoding(max_new_tokens, temperature, seed)
        if tools or any(c is not None for c in constraints):
            raise ModelError(
                f"{self.name} is behind an endpoint, which is asked for plain answers; leave tools and schemas out, or load "
                "the weights here"
            )
        if on_step is not None and len(conversations) > 1:
            raise ModelError(f"an endpoint streams one answer at a time, not {len(conversations)}; ask one by one")
        options: dict[str, Any] = {"max_tokens": max_new_tokens, "temperature": float(temperature)}
        if seed is not None:
            options["seed"] = seed
        if stops := check_stops(stop):
            options["stop"] = list(stops)
        asked = [as_messages(c) for c in conversations]
        return self._all([lambda m=m: self._answer(m, options, on_step, reader) for m in asked])  # type: ignore[misc]

    def draw(
        self, messages: Sequence[Message], n: int, *, seed: int, max_new_tokens: int, temperature: float, top_p: float
    ) -> list[Trace]:
        """n sampled answers to one conversation, each asked for with a seed of its own: seed, seed + 1 and so on."""
        options: dict[str, Any] = {"max_tokens": max_new_tokens, "temperature": temperature}
        if top_p < 1:
            options["top_p"] = top_p
        asked = as_messages(messages)
        return self._all([lambda i=i: self._answer(asked, {**options, "seed": seed + i}) for i in range(n)])  # type: ignore[misc]

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
                with closing(self.client.events("/chat/completions", {**body, "stream": True})) as events:
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

    def _all(self, works: Sequence[Callable[[], Trace]]) -> list[Trace]:
        """What each gives, several at a time, in order. Raises what the first of them raises."""
        if len(works) > 1:
            self.abilities  # noqa: B018  (asked once, before all of them)
        return side_by_side(works, self.concurrency)
