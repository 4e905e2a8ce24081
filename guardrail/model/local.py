"""A loaded chat model that generates: messages -> Traces."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar, get_args

from guardrail.errors import ModelError
from guardrail.messages import as_messages
from guardrail.model.constraint import Constraint
from guardrail.model.continuous.batching import ContinuousBatching
from guardrail.model.continuous.parts import SharedPassError
from guardrail.model.continuous.sharing import Driver, OnTiming, Sharing
from guardrail.model.generate import generate
from guardrail.model.given_beginning import begin, with_beginnings
from guardrail.model.loaded import LoadedModel
from guardrail.model.recording import Keep
from guardrail.model.run import Decoding
from guardrail.model.stopping import OnStep, check_decoding, check_stops
from guardrail.types import DEFAULT_MAX_NEW_TOKENS, Message, Tool, Trace

T = TypeVar("T")


class LocalModel(LoadedModel):
    """A chat model in memory: a transformers module and its tokenizer, with what the pipeline asks of them.

    `load_model` makes one; `LocalModel(model, tokenizer)` wraps a module that exists already. Several threads may use it:
    they take turns.

    Attributes:
        model: The transformers module.
        tokenizer: Its tokenizer, with a chat template.
        name: For people; by default the module's own.
        chat_template_kwargs: Switches of the chat template, such as `{"enable_thinking": False}`.
        stated: How it was taught to state its confidence, as the adapter's folder has it; read as `wording` and `taught`.
        lock: Held by generation and scoring while they use the module.
        anatomy: Where its layers and head are, and how scoring reads its KV cache.
        identity: What tells this model from others.
        semantic_token: t*, as the chat template has it.
        wording: How it was taught to state its confidence; None where it was not.
        taught: Digests of the questions that it was taught this with.
        sharing: What shares its passes among threads, inside `shared`; None elsewhere.
        confidence_adapter: What it states its confidence with in a turn of its own; None where it has none.
    """

    sharing: Sharing | None = None

    def generate(
        self,
        messages: str | Sequence[Message],
        *,
        max_new_tokens: int = DEFAULT_MAX_NEW_TOKENS,
        temperature: float = 0.0,
        seed: int | None = None,
        truncate: bool = False,
        keep: Keep | None = None,
    ) -> Trace:
        """Answer one conversation; arguments, result and errors are those of `generate_batch`."""
        return self.generate_batch(
            [messages], max_new_tokens=max_new_tokens, temperature=temperature, seed=seed, truncate=truncate, keep=keep
        )[0]

    def reply(self, messages: str | Sequence[Message], *, max_new_tokens: int) -> Trace:
        """What the model says to something that is no user's question, such as how sure it is: greedy."""
        return self.generate(messages, max_new_tokens=max_new_tokens)

    def each(self, works: Sequence[Callable[[], T]]) -> list[T]:
        """What each piece of work on this model gives, in order. One that is elsewhere does several at a time."""
        return [work() for work in works]

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
        """Answer conversations in one left-padded batch.

        Args:
            conversations: Each a user's text or a list of messages.
            max_new_tokens: The longest response, in tokens.
            temperature: 0 is greedy.
            seed: Makes sampling repeatable.
            truncate: Whether a prompt that leaves no room in the model's context loses its first tokens. Otherwise it gets no
                response (finish reason `prompt_too_long`). Either way it stays unscored.
            keep: The states that scoring can use again; by default none.
            stop: Strings that end a response and are not in it.
            tools: What the model may call, for the chat template.
            on_step: Called after each token with the ids of every row's answer so far, without its thinking. One whose
                attribute `shows` is False may see an answer's steps again from the first.
            constraints: What each answer must be, None for one that is free; needs the extra `structured`. Empty leaves all
                free.
            prefixes: How each reply has to begin, empty for one that is free: text of the assistant's turn, never control
                tokens, which the model goes on from. A thought that the prompt has opened is ended before it.

        Returns:
            One Trace for each conversation, in order.

        Raises:
            ModelError: Options that make no sense, a constraint that cannot be kept, or too little memory for a single
                prompt.
            MissingExtraError: A constraint without the extra.
            ChatTemplateError: Messages or tools that the template rejects.
        """
        check_decoding(max_new_tokens, temperature, seed)
        if not conversations:
            return []
        if constraints and len(constraints) != len(conversations):
            raise ModelError(
                f"there are {len(constraints)} constraints for {len(conversations)} conversations; give one for each"
            )
        messages = [as_messages(c) for c in conversations]
        prompts = [self.encode_prompt(m, tools) for m in messages]
        begun = begin(self, prompts, prefixes)
        prompts = [[*prompt, *beginning] for prompt, beginning in zip(prompts, begun, strict=True)]
        stops = check_stops(stop)
        truncated = [False] * len(prompts)
        context = self.anatomy.context
        if truncate and context is not None:
            room = max(1, context - max_new_tokens)
            truncated = [len(p) > room for p in prompts]
            prompts = [p[-room:] for p in prompts]
        decoding = Decoding(max_new_tokens, float(temperature), seed, stops, on_step, constraints=tuple(constraints))
        sharing = self.sharing
        if sharing is not None and sharing.takes(prompts, decoding, keep):
            try:
                found = generate(self, messages, prompts, decoding, keep, truncated, sharing.drive)
                return with_beginnings(self, found, begun)
            except SharedPassError:
                if getattr(on_step, "shows", on_step is not None):  # its steps were shown
                    raise
        # after a pass that failed in the loop, by itself: what is its own fault is raised in its caller
        with self.lock:
            return with_beginnings(self, generate(self, messages, prompts, decoding, keep, truncated), begun)

    @contextmanager
    def shared(
        self, max_rows: int = 16, on_timing: OnTiming | None = None, driver: Driver = "guardrail"
    ) -> Iterator[Sharing]:
        """Inside, calls for one conversation each that several threads make at once share the model's passes.

            with model.shared() as sharing:  # any number of threads call guard.answer, each as it would alone
                ...

        Other calls take turns with these, and so do models whose `sharing.merges` is False. On leaving, what runs and waits
        is finished.

        Args:
            max_rows: How many answers are generated at once, at most; their caches are in memory together.
            on_timing: Told seconds of waiting and of generation, for metrics.
            driver: Whose loop: this package's, which keeps what scoring uses, or `transformers`' own, for a GPU: scoring
                then reads each answer once more.

        Raises `ModelError` for a model that is shared already, and for one that the driver cannot serve.
        """
        if isinstance(max_rows, bool) or not isinstance(max_rows, int) or max_rows < 1:
            raise ModelError(f"max_rows is {max_rows!r:.80}; it must be at least 1, a whole number")
        if driver not in get_args(Driver):
            raise ModelError(f"driver is {driver!r:.40}; it is one of: {', '.join(get_args(Driver))}")
        if self.sharing is not None:
            raise ModelError(f"{self.name} is shared already; use that one")
        if driver == "transformers":
            from guardrail.model.continuous.paged import PagedBatching

            self.sharing = PagedBatching(self, max_rows, on_timing)
        else:
            self.sharing = ContinuousBatching(self, max_rows, on_timing)
        try:
            yield self.sharing
        finally:
            sharing, self.sharing = self.sharing, None
            sharing.close()
