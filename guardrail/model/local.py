"""A loaded chat model that generates: messages -> Traces. Knows nothing about scores or policies."""

from __future__ import annotations

from collections.abc import Sequence

from guardrail.errors import ModelError
from guardrail.messages import as_messages
from guardrail.model.generate import Decoding, generate
from guardrail.model.loaded import LoadedModel
from guardrail.model.recording import Keep
from guardrail.model.stopping import OnStep, check_stops
from guardrail.types import DEFAULT_MAX_NEW_TOKENS, Message, Tool, Trace


class LocalModel(LoadedModel):
    """A transformers module and its tokenizer, with what the pipeline asks of them.

    Wraps modules that exist already, too: `LocalModel(model, tokenizer)`.
    """

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
        """Answer one conversation. See `generate_batch`."""
        return self.generate_batch(
            [messages], max_new_tokens=max_new_tokens, temperature=temperature, seed=seed, truncate=truncate, keep=keep
        )[0]

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
    ) -> list[Trace]:
        """Answer conversations in one left-padded batch.

        temperature 0 is greedy. stop: strings that end a response and are not in it. tools: what the model may call, for the
        chat template. on_step: called after each token with the response ids of every row. A prompt that leaves no room in
        the model's context gets no response (finish reason `prompt_too_long`), or loses its first tokens with
        `truncate=True`; either way it stays unscored. `keep` asks for the states that scoring can use again.

        Raises `ModelError` for options that make no sense and `ChatTemplateError` for messages that the template rejects.
        """
        if max_new_tokens < 1:
            raise ModelError(f"max_new_tokens is {max_new_tokens}; it must be at least 1")
        if not 0 <= temperature < float("inf"):
            raise ModelError(f"temperature is {temperature}; it must be 0 (greedy) or a positive number")
        if seed is not None and not -(2**63) <= seed < 2**64:
            raise ModelError(f"seed is {seed}; it must fit into 64 bits: from -2**63 to 2**64 - 1")
        if not conversations:
            return []
        messages = [as_messages(c) for c in conversations]
        prompts = [self.encode_prompt(m, tools) for m in messages]
        stops = check_stops(stop)
        truncated = [False] * len(prompts)
        with self.lock:
            context = self.anatomy.context
            if truncate and context is not None:
                room = max(1, context - max_new_tokens)
                truncated = [len(p) > room for p in prompts]
                prompts = [p[-room:] for p in prompts]
            decoding = Decoding(max_new_tokens, temperature, seed, stops, on_step)
            return generate(self, messages, prompts, decoding, keep, truncated)
