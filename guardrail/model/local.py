"""A loaded chat model: its module, its tokenizer, its facts, and generation. Knows nothing about scores or policies."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import torch
from torch import nn

from guardrail.errors import ChatTemplateError, ModelError
from guardrail.messages import as_messages, check_text
from guardrail.model import chat
from guardrail.model.anatomy import Anatomy, read_anatomy
from guardrail.model.generate import Decoding, generate
from guardrail.model.identity import ModelIdentity, identify
from guardrail.model.recording import Keep
from guardrail.model.stopping import OnStep, check_stops
from guardrail.model.untouched import lock_of
from guardrail.types import Message, Tool, Trace


def end_ids(owner: Any) -> list[int]:
    """The end-of-turn ids that a model's generation config, or a tokenizer, names; none if it names none."""
    configured = getattr(getattr(owner, "generation_config", owner), "eos_token_id", None)
    if configured is None:
        return []
    return [configured] if isinstance(configured, int) else list(configured)


class LocalModel:
    """A transformers module and its tokenizer, with what the pipeline asks of them.

    Wraps modules that exist already, too: `LocalModel(model, tokenizer)`. One lock a model: generation and scoring of
    several threads take turns.
    """

    def __init__(self, model: nn.Module, tokenizer: Any, *, name: str | None = None) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.name = name or getattr(getattr(model, "config", None), "_name_or_path", "") or type(model).__name__
        self.lock = lock_of(model)

    def __repr__(self) -> str:
        return f"LocalModel({self.name!r})"

    @cached_property
    def anatomy(self) -> Anatomy:
        """Layers, head and cache; raises `UnsupportedModelError` for an architecture that cannot be scored."""
        with self.lock:
            return read_anatomy(self.model)

    @cached_property
    def identity(self) -> ModelIdentity:
        return identify(self.name, self.model, self.tokenizer)

    @cached_property
    def semantic_token(self) -> chat.SemanticToken:
        """t* as the chat template has it."""
        return chat.semantic_token(self.tokenizer)

    @property
    def device(self) -> torch.device:
        """The device that takes the token ids."""
        device: torch.device = self.model.get_input_embeddings().weight.device  # type: ignore[operator]
        return device

    @cached_property
    def eos_ids(self) -> list[int]:
        """Ids that end a response: the generation config's, else the tokenizer's."""
        configured = end_ids(self.model) or end_ids(self.tokenizer)
        if not configured:
            raise ModelError(f"{self.name} names no end-of-turn token (generation_config.eos_token_id); set one")
        return configured

    @property
    def pad_id(self) -> int:
        pad = self.tokenizer.pad_token_id
        return self.eos_ids[0] if pad is None else int(pad)

    @cached_property
    def takes_tools(self) -> bool:
        """Whether the chat template shows tools to the model."""
        return chat.takes_tools(self.tokenizer)

    def encode_prompt(self, messages: str | Sequence[Message], tools: Sequence[Tool] = ()) -> list[int]:
        """Prompt ids through the chat template, generation prompt included.

        Raises `ChatTemplateError` for tools that the template would leave out.
        """
        if tools and not self.takes_tools:
            raise ChatTemplateError(
                f"the chat template of {self.name} takes no tools; use a model whose template does, or give such a template"
            )
        return chat.prompt_ids(self.tokenizer, as_messages(messages), tools)

    def encode_response(self, text: str) -> list[int]:
        """Response ids of a text that exists already, with the end-of-turn token that a response has."""
        ids: list[int] = self.tokenizer(text, add_special_tokens=False)["input_ids"] if text else []
        end = chat.end_of_turn(self.tokenizer, self.eos_ids)
        return ids if end is None else [*ids, end]

    def trace(self, messages: str | Sequence[Message], answer: str) -> Trace:
        """The Trace of an answer that exists already (finish reason `given`)."""
        conversation = as_messages(messages)
        check_text(answer, "an answer")
        return Trace(
            conversation, tuple(self.encode_prompt(conversation)), tuple(self.encode_response(answer)), answer, "given"
        )

    def generate(
        self,
        messages: str | Sequence[Message],
        *,
        max_new_tokens: int = 150,
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
        max_new_tokens: int = 150,
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
