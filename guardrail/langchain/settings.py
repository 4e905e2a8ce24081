"""What a guarded chat model is made of: its fields, checked; its Guard; what LangChain's caches and traces ask about it.

Knows nothing about messages.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import Any, Literal, Self

from langchain_core.language_models import BaseChatModel, LangSmithParams
from langchain_core.messages import BaseMessage
from langchain_core.utils.function_calling import convert_to_openai_tool
from pydantic import ConfigDict, Field, PrivateAttr, field_validator

from guardrail.calibration.isotonic import IsotonicCalibrator
from guardrail.errors import ModelError
from guardrail.guard import Guard
from guardrail.langchain import huggingface
from guardrail.langchain.call import AsQuestion
from guardrail.langchain.convert import to_chat_messages
from guardrail.model.identity import text_hash
from guardrail.model.loading import load_model
from guardrail.model.local import LocalModel
from guardrail.model.stopping import check_stops

StreamPolicy = Literal["answer", "passthrough"]


class GuardedSettings(BaseChatModel):
    """The fields of `ChatGuarded`, which explains them, and what follows from them alone."""

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid")

    model: Any
    policy: Any = "default"
    calibrator: Any = None
    retriever: Any = None
    scorer: Any = Field(default=None, repr=False)
    observers: tuple[Any, ...] = Field(default=(), repr=False)
    device: str | None = None
    dtype: Any = None
    chat_template: str | None = Field(default=None, repr=False)
    max_tokens: int | None = None
    temperature: float = 0.0
    seed: int | None = None
    stop: tuple[str, ...] = ()
    stream_policy: StreamPolicy = "answer"
    streaming: bool = False
    as_question: AsQuestion = "string"
    score_tool_calls: bool = False
    include_original: bool = False
    batch_size: int = Field(default=8, ge=1)

    _guard: Guard = PrivateAttr()
    _thread: ThreadPoolExecutor = PrivateAttr()

    @field_validator("stop", mode="before")
    @classmethod
    def _stops(cls, value: Any) -> tuple[str, ...]:
        return check_stops(value)

    @field_validator("stream_policy", mode="before")
    @classmethod
    def _no_claims_yet(cls, value: Any) -> Any:
        if value == "claim":
            raise ModelError("stream_policy 'claim' is not there yet; use 'answer' or 'passthrough'")
        return value

    def model_post_init(self, context: Any, /) -> None:
        self.cache = _cache_under(self.stream_policy, self.cache)
        calibrator, name = self.calibrator, "given"
        if calibrator is not None and not isinstance(calibrator, IsotonicCalibrator):
            calibrator, name = IsotonicCalibrator.load(calibrator), str(calibrator)
        if not isinstance(self.model, (str, os.PathLike, LocalModel)):
            raise ModelError(
                f"the model is {self.model!r:.80}; give a name (hub id, folder, .gguf file) or LocalModel(module, tokenizer)"
            )
        if not isinstance(self.model, LocalModel):
            self.model = load_model(
                os.fspath(self.model), device=self.device, dtype=self.dtype, chat_template=self.chat_template
            )
        self._guard = Guard(
            model=self.model,
            scorer=self.scorer,
            calibrator=calibrator,
            policy=self.policy,
            retriever=self.retriever,
            calibrator_name=name,
            observers=self.observers,
        )
        # One thread, for the model has one lock: waiting tasks must not fill the event loop's own threads.
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="guardrail")
        super().model_post_init(context)

    def __setattr__(self, name: str, value: Any) -> None:
        built = "_guard" in (getattr(self, "__pydantic_private__", None) or {})
        for field, new in (self._allowed({name: value}) if built else {name: value}).items():
            super().__setattr__(field, new)

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """A copy that shares the model and its Guard. Raises `ModelError` for an update of what the Guard is made of."""
        return super().model_copy(update=self._allowed(update or {}), deep=deep)

    def _allowed(self, update: Mapping[str, Any]) -> dict[str, Any]:
        """The update, with what follows from it. A new policy, say, would be shown by the field and followed by nobody."""
        for name in _GUARD_FIELDS & update.keys():
            if update[name] is not getattr(self, name):
                raise ModelError(
                    f"{name} cannot change, the guard is built with it; build another: ChatGuarded(model=..., {name}=...)"
                )
        if not update.keys() & {"cache", "stream_policy"}:
            return dict(update)
        after = {"cache": self.cache, "stream_policy": self.stream_policy, **update}
        return {**update, "cache": _cache_under(after["stream_policy"], after["cache"])}

    @classmethod
    def from_model_id(cls, model_id: str, **options: Any) -> Self:
        """`ChatGuarded(model=model_id, ...)`, under the name that LangChain's Hugging Face classes use."""
        return cls(model=model_id, **options)

    @classmethod
    def from_pipeline(cls, pipeline: Any, **options: Any) -> Self:
        """A transformers text-generation pipeline, or a `HuggingFacePipeline`: its model and tokenizer, not its options."""
        return cls(model=huggingface.from_pipeline(pipeline), **options)

    @classmethod
    def from_chat_huggingface(cls, chat: Any, **options: Any) -> Self:
        """A `ChatHuggingFace` over a local pipeline: its model and tokenizer; this class generates in its place."""
        return cls(model=huggingface.from_chat_huggingface(chat), **options)

    @classmethod
    def from_guard(cls, guard: Guard, **options: Any) -> Self:
        """A Guard that exists already, as it is; options: max_tokens, stream_policy and the like."""
        chat = cls(
            model=guard.model,
            policy=guard.policy,
            calibrator=guard.calibrator,
            retriever=guard.retriever,
            scorer=guard.scorer,
            observers=guard.observers,
            **options,
        )
        chat._guard = guard
        return chat

    def get_token_ids(self, text: str) -> list[int]:
        """Token ids of a text, by the model's own tokenizer (LangChain's default would fetch that of GPT-2)."""
        ids: list[int] = self._guard.model.tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids

    def get_num_tokens_from_messages(self, messages: Sequence[BaseMessage], tools: Sequence[Any] | None = None) -> int:
        """Tokens of the prompt that these messages make, with the chat template's own; for `trim_messages`."""
        shown = [convert_to_openai_tool(tool) for tool in tools or ()]
        return len(self._guard.model.encode_prompt(to_chat_messages(messages), shown))

    @property
    def guard(self) -> Guard:
        """The Guard that answers."""
        return self._guard

    @property
    def model_name(self) -> str:
        """The model's name, as in `response_metadata`."""
        return self._guard.model.name

    @property
    def _llm_type(self) -> str:
        return "guardrail"

    @property
    def _identifying_params(self) -> dict[str, Any]:
        """Everything that changes an answer: LangChain's caches take it for their keys."""
        return {**self._fixed, **{name: getattr(self, name) for name in _CALL_FIELDS}}

    @cached_property
    def _fixed(self) -> dict[str, Any]:
        calibrator = self._guard.calibrator
        return {
            "model_name": self.model_name,
            "model_weights": self._guard.model.identity.weights,
            "chat_template": self._guard.model.identity.chat_template,
            "policy": text_hash(repr(self._guard.policy)),
            "calibrator": None if calibrator is None else text_hash(json.dumps(calibrator.to_dict(), sort_keys=True)),
            "retriever": None if self.retriever is None else type(self.retriever).__name__,
        }

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        params = super()._get_ls_params(stop=stop, **kwargs)
        params["ls_provider"], params["ls_model_name"] = "guardrail", kwargs.get("model", self.model_name)
        return params

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> Self:
        return self.model_copy()  # weights and lock are shared, as in a copy

    def __reduce__(self) -> Any:
        raise ModelError(
            "a ChatGuarded is not pickled (weights, a lock); build one in each process: ChatGuarded(model=SPEC)"
        )


def _cache_under(stream_policy: str, cache: Any) -> Any:
    """The field `cache`: under "passthrough" never LangChain's global cache either, whose entries `invoke` would read.

    There an entry may hold text that was streamed unjudged, and the cache cannot tell it from a held answer.
    """
    if stream_policy != "passthrough":
        return cache
    if cache:
        raise ModelError(
            "stream_policy 'passthrough' takes no cache: invoke would give out text that was streamed before its verdict; "
            "leave cache out, or use stream_policy='answer'"
        )
    return False


_GUARD_FIELDS = frozenset(
    ("model", "policy", "calibrator", "retriever", "scorer", "observers", "device", "dtype", "chat_template")
)
_CALL_FIELDS = (
    *("max_tokens", "temperature", "seed", "stop", "stream_policy", "as_question", "score_tool_calls"),
    "include_original",
)
