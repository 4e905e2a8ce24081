"""A loaded chat model: its module, its tokenizer, and the facts that generation and scoring need."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from functools import cached_property
from typing import Any, ClassVar

import torch
from torch import nn

from guardrail.errors import ChatTemplateError, ModelError
from guardrail.kernels.frozen import lock_of, weights_sample, weights_version
from guardrail.messages import as_messages, check_finish, check_text
from guardrail.model import chat
from guardrail.model.anatomy import Anatomy, read_anatomy
from guardrail.model.confidence_adapter import ConfidenceAdapter
from guardrail.model.identity import ModelIdentity, identify
from guardrail.model.inert import Inert
from guardrail.model.thinking import Thinking
from guardrail.plain_text import trimmed
from guardrail.stated import Stated, StatedFile, Wording
from guardrail.types import FinishReason, Message, Tool, Trace


def end_ids(owner: Any) -> list[int]:
    """The end-of-turn ids that a model's generation config, or a tokenizer, names; none if it names none.

    Raises `ModelError` for what are no ids: a row would end at none of them.
    """
    configured = getattr(getattr(owner, "generation_config", owner), "eos_token_id", None)
    if isinstance(configured, torch.Tensor):
        configured = configured.tolist()
    found = configured if isinstance(configured, (list, tuple)) else [] if configured is None else [configured]
    if not all(isinstance(i, int) and not isinstance(i, bool) for i in found):
        raise ModelError(
            f"eos_token_id of the generation config or the tokenizer is {configured!r:.80}; it is a token id, or a list of ids"
        )
    return [i for i in found if i >= 0]  # -1 is none


class LoadedModel:
    """A transformers module and its tokenizer, with what generation and scoring ask of them.

    One lock a model: generation and scoring of several threads take turns.
    """

    has_weights: ClassVar[bool] = True
    """Whether they are here; one behind an endpoint has none."""

    answers_here: ClassVar[bool] = True
    """Whether this process generates its answers, so that the same weights give the same ones again."""

    stays: ClassVar[tuple[str, ...]] = ("", "model", "anatomy", "lock")
    """What of it is never sent to another process, by attribute ("" is itself): that has its own."""

    def __init__(
        self,
        model: nn.Module,
        tokenizer: Any,
        *,
        name: str | None = None,
        chat_template_kwargs: Mapping[str, Any] | None = None,
        stated: StatedFile | None = None,
        confidence_adapter: ConfidenceAdapter | None = None,
    ) -> None:
        self.model = model
        self.wording: Wording | None = stated.wording if stated else None
        self.taught = frozenset(stated.taught if stated else ())
        self.confidence_adapter = confidence_adapter
        self.chat_template_kwargs = check_switches(chat_template_kwargs)
        self.tokenizer = tokenizer
        self.name = name or getattr(getattr(model, "config", None), "_name_or_path", "") or type(model).__name__
        self.lock = lock_of(model)
        self._identified: tuple[Any, ModelIdentity] | None = None

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r})"

    @cached_property
    def anatomy(self) -> Anatomy:
        """Layers, head and cache; raises `UnsupportedModelError` for an architecture that cannot be scored."""
        with self.lock:
            return read_anatomy(self.model)

    @property
    def context(self) -> int | None:
        """The longest prompt with its answer, in tokens; None for no limit."""
        return self.anatomy.context

    @property
    def identity(self) -> ModelIdentity:
        """What tells this model from others; found again when its weights, its adapters or its template have changed.

        Only then does it wait for the lock: it is asked for in event loops, while another thread generates.
        """
        known = self._identified
        if known is not None and known[0] == self._version():
            return known[1]
        with self.lock:
            now = self._version()
            if self._identified is None or self._identified[0] != now:
                found = identify(self.name, self.model, self.tokenizer, self.chat_template_kwargs, self._end_ids)
                self._identified = now, found
            return self._identified[1]

    @property
    def version(self) -> Hashable:
        """What changes with its weights; cheap to ask for."""
        return weights_version(self.model), weights_sample(self.model)

    def _version(self) -> tuple[int, int, Any]:
        return weights_version(self.model), weights_sample(self.model), self.tokenizer.chat_template

    @cached_property
    def semantic_token(self) -> chat.SemanticToken:
        """t* as the chat template has it."""
        return chat.semantic_token(self.tokenizer, self.chat_template_kwargs)

    @cached_property
    def thinking(self) -> Thinking:
        """The marks between which this model thinks."""
        return Thinking.of(self.tokenizer)

    @property
    def device(self) -> torch.device:
        """The device that takes the token ids."""
        device: torch.device = self.model.get_input_embeddings().weight.device  # type: ignore[operator]
        return device

    @property
    def end_tokens(self) -> list[str]:
        """The tokens that end a response, as they are spelt."""
        return [str(self.tokenizer.convert_ids_to_tokens(i)) for i in self._end_ids]

    @cached_property
    def eos_ids(self) -> list[int]:
        """Ids that end a response: the generation config's, the tokenizer's, and what the template puts after a reply."""
        if not self._end_ids:
            raise ModelError(f"{self.name} names no end-of-turn token (generation_config.eos_token_id); set one")
        return self._end_ids

    @cached_property
    def _end_ids(self) -> list[int]:
        configured = [*end_ids(self.model), *end_ids(self.tokenizer)]
        if (end := chat.template_end(self.tokenizer, self.chat_template_kwargs)) is not None:
            mark = str(self.tokenizer.convert_ids_to_tokens(end))
            configured += [] if mark in self.thinking.closes else [end]
        return list(dict.fromkeys(configured))

    @property
    def pad_id(self) -> int:
        pad = self.tokenizer.pad_token_id  # one that a tokenizer added has no row in the embeddings, and needs none
        if pad is None or pad >= self._rows:
            return next((i for i in self.eos_ids if i < self._rows), 0)
        return int(pad)

    @property
    def _rows(self) -> int:
        """How many token ids the embeddings know."""
        embeddings: Any = self.model.get_input_embeddings()  # type: ignore[operator]
        return int(getattr(embeddings, "num_embeddings", embeddings.weight.shape[0]))

    def _known(self, ids: list[int]) -> list[int]:
        """The ids. Raises `ModelError` for one that the model has no embedding of."""
        if (unknown := next((i for i in ids if i >= self._rows), None)) is not None:
            token = self.tokenizer.convert_ids_to_tokens(unknown)
            raise ModelError(
                f"the tokenizer's token {token!r} has the id {unknown}, and {self.name} has embeddings for {self._rows} ids; "
                "resize the model's embeddings, or take the tokenizer that it was trained with"
            )
        return ids

    @cached_property
    def takes_tools(self) -> bool:
        """Whether the chat template shows tools to the model."""
        return chat.takes_tools(self.tokenizer, self.chat_template_kwargs)

    def encode_prompt(self, messages: str | Sequence[Message], tools: Sequence[Tool] = ()) -> list[int]:
        """Prompt ids through the chat template, generation prompt included.

        Raises `ChatTemplateError` for tools that the template would leave out.
        """
        if tools and not self.takes_tools:
            raise ChatTemplateError(
                f"the chat template of {self.name} takes no tools; use a model whose template does, or give such a template"
            )
        return self._known(chat.prompt_ids(self.tokenizer, self._said(messages), tools, self.chat_template_kwargs))

    def _shown(self, text: str) -> str:
        ends = tuple(filter(None, self.end_tokens))
        before = None
        while text != before:
            before, text = text, trimmed(text)
            for end in ends:
                text = text.removesuffix(end).removeprefix(end)
        return text

    def _said(self, messages: str | Sequence[Message]) -> list[Message]:
        """The messages without the thoughts that earlier answers begin with: templates leave those out on purpose."""
        said: list[Message] = []
        for message in as_messages(messages):
            content = message["content"]
            if message["role"] == "assistant" and isinstance(content, str):
                _, answer, unfinished = self.thinking.split_text(content)
                message = message if unfinished else {**message, "content": answer}
            said.append(message)
        return said

    def without_confidence(self, text: str) -> Stated:
        """An answer without what it says of its own confidence, where this model was taught to end answers so."""
        if self.wording is None or self.wording.turn != "same":
            return Stated(text, None)
        return self.wording.taken_from(text)

    def unthinking(self, prompt: Sequence[int]) -> list[int]:
        """The ids that end a thought which the prompt has opened, so that an answer may follow; none where it has not."""
        return self.thinking.closing_ids if self.thinking.opened_by(prompt) else []

    def encode_response(self, text: str, *, ended: bool = True) -> list[int]:
        """Response ids of a text that exists already, with the end-of-turn token of a response that has `ended`.

        What the text says becomes text, never control tokens.
        """
        inert = Inert(self.tokenizer)
        ids = self._known(inert.encode(inert.text(text)))
        end = chat.end_of_turn(self.tokenizer, self.eos_ids) if ended else None
        return ids if end is None else [*ids, end]

    def trace(self, messages: str | Sequence[Message], answer: str, *, finish_reason: FinishReason = "given") -> Trace:
        """The Trace of an answer that exists already, as it would be shown: without outer white space and end tokens, which
        generation leaves out, too.

        Args:
            messages: What was asked.
            answer: The answer to it.
            finish_reason: `length` where something cut the answer before its end: it has no end-of-turn token then.
        """
        check_finish(finish_reason)
        conversation = as_messages(messages)
        check_text(answer, "an answer")
        prompt = self.encode_prompt(conversation)
        thought, text, unfinished = self.thinking.split_text(answer, opened=self.thinking.opened_by(prompt))
        thought_ids = (
            self.tokenizer(thought, add_special_tokens=False)["input_ids"] if thought else self.unthinking(prompt)
        )
        text, stated = self.without_confidence(self._shown(text))
        return Trace(
            conversation,
            (*prompt, *thought_ids),
            tuple(self.encode_response(text, ended=finish_reason != "length")),
            text,
            finish_reason,
            thinking=self.thinking.bare(thought),
            thinking_tokens=len(thought_ids),
            unfinished_thinking=unfinished,
            stated=stated,
        )


def check_switches(given: Mapping[str, Any] | None) -> dict[str, Any]:
    """What a chat template takes beside the messages. Raises `ModelError` for what only guardrail may set."""
    if given is not None and not (isinstance(given, Mapping) and all(isinstance(name, str) for name in given)):
        raise ModelError(f'chat_template_kwargs is a mapping such as {{"enable_thinking": False}}, not {given!r:.80}')
    if taken := sorted(_OWN_OPTIONS & (given or {}).keys()):
        raise ModelError(f"chat_template_kwargs must not hold {taken[0]!r}: guardrail sets it itself; leave it out")
    return dict(given or {})


_OWN_OPTIONS = {
    "conversation",
    "messages",
    "tools",
    "chat_template",
    "tokenize",
    "add_generation_prompt",
    "return_dict",
    "continue_final_message",
    "padding",
    "truncation",
    "max_length",
    "return_tensors",
    "tokenizer_kwargs",
    "return_assistant_tokens_mask",
    "documents",
}
