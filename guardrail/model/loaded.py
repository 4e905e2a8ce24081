"""A loaded chat model: its module, its tokenizer, and the facts that generation and scoring need."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import torch
from torch import nn

from guardrail.errors import ChatTemplateError, ModelError
from guardrail.kernels.frozen import lock_of
from guardrail.messages import as_messages, check_finish, check_text
from guardrail.model import chat
from guardrail.model.anatomy import Anatomy, read_anatomy
from guardrail.model.identity import ModelIdentity, identify
from guardrail.types import FinishReason, Message, Tool, Trace


def end_ids(owner: Any) -> list[int]:
    """The end-of-turn ids that a model's generation config, or a tokenizer, names; none if it names none."""
    configured = getattr(getattr(owner, "generation_config", owner), "eos_token_id", None)
    if configured is None:
        return []
    return [configured] if isinstance(configured, int) else list(configured)


class LoadedModel:
    """A transformers module and its tokenizer, with what generation and scoring ask of them.

    One lock a model: generation and scoring of several threads take turns.
    """

    def __init__(self, model: nn.Module, tokenizer: Any, *, name: str | None = None) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.name = name or getattr(getattr(model, "config", None), "_name_or_path", "") or type(model).__name__
        self.lock = lock_of(model)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r})"

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

    def encode_response(self, text: str, *, ended: bool = True) -> list[int]:
        """Response ids of a text that exists already, with the end-of-turn token that a response has where it has `ended`."""
        ids: list[int] = self.tokenizer(text, add_special_tokens=False)["input_ids"] if text else []
        end = chat.end_of_turn(self.tokenizer, self.eos_ids) if ended else None
        return ids if end is None else [*ids, end]

    def trace(self, messages: str | Sequence[Message], answer: str, *, finish_reason: FinishReason = "given") -> Trace:
        """The Trace of an answer that exists already.

        Args:
            messages: What was asked.
            answer: The answer to it.
            finish_reason: `length` where something cut the answer before its end: it has no end-of-turn token then.
        """
        check_finish(finish_reason)
        conversation = as_messages(messages)
        check_text(answer, "an answer")
        return Trace(
            conversation,
            tuple(self.encode_prompt(conversation)),
            tuple(self.encode_response(answer, ended=finish_reason != "length")),
            answer,
            finish_reason,
        )
