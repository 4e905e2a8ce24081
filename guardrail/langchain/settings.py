"""What a guarded chat model is made of: its fields, checked; its Guard; what LangChain's caches and traces ask about it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Self

from langchain_core.language_models import BaseChatModel, LangSmithParams
from langchain_core.messages import BaseMessage
from langchain_core.utils.function_calling import convert_to_openai_tool
from pydantic import ConfigDict, Field, PrivateAttr, SkipValidation, ValidationInfo, field_validator, model_validator

from guardrail.claims import OF_WHOLE_ANSWERS, ClaimExtractor
from guardrail.deadlines import check_timeout
from guardrail.errors import ModelError, UnsupportedModelError
from guardrail.guard import Guard
from guardrail.langchain import huggingface
from guardrail.langchain.built import SharedGuard
from guardrail.langchain.call import AsQuestion, plain_number
from guardrail.langchain.convert import to_chat_messages
from guardrail.langchain.standard_options import own_options
from guardrail.langchain.turns import ModelQueue, SideBySide
from guardrail.langchain.unguarded import UnguardedChat
from guardrail.model.loading import load_model
from guardrail.model.local import LocalModel
from guardrail.model.stopping import check_stops
from guardrail.observers.protocol import Observer
from guardrail.pipeline.assembly import CalibratorSource
from guardrail.policy import Policy
from guardrail.retrieval import Retriever
from guardrail.scoring.protocol import Scorer
from guardrail.verification.protocol import Verifier

StreamPolicy = Literal["answer", "claim", "passthrough"]


class GuardedSettings(BaseChatModel):
    """The fields of `ChatGuarded`, which explains them, and what follows from them alone.

    built: not for users. LangChain's `configurable_fields` makes a new chat model for each call from the fields of another;
    with this one it shares the Guard where nothing has changed that the Guard is made of.
    """

    # inputs stay out of errors: keys are secret
    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid", hide_input_in_errors=True)

    model: SkipValidation[LocalModel | str | os.PathLike[str]]
    policy: SkipValidation[Policy | str | os.PathLike[str]] = "default"
    calibrator: SkipValidation[CalibratorSource | None] = None
    retriever: SkipValidation[Retriever | None] = Field(default=None, repr=False)
    scorer: SkipValidation[Scorer | None] = Field(default=None, repr=False)
    claims: SkipValidation[ClaimExtractor | str | None] = Field(default=None, repr=False)
    claim_calibrator: SkipValidation[CalibratorSource | None] = None
    question_calibrator: SkipValidation[CalibratorSource | None] = None
    verifier: SkipValidation[Verifier | None] = Field(default=None, repr=False)
    escalate_to: SkipValidation[Guard | None] = Field(default=None, repr=False)
    observers: tuple[SkipValidation[Observer], ...] = Field(default=(), repr=False)
    device: str | None = None
    dtype: Any = None
    chat_template: str | None = Field(default=None, repr=False)
    chat_template_kwargs: dict[str, Any] | None = Field(default=None, repr=False)
    max_tokens: int | None = None
    temperature: float = 0.0
    seed: int | None = None
    stop: tuple[str, ...] = ()
    timeout: float | None = None
    stream_policy: StreamPolicy = "answer"
    streaming: bool = False
    as_question: AsQuestion = "string"
    score_tool_calls: bool = False
    include_original: bool = False
    raise_on_abstain: bool = False
    batch_size: int = Field(default=8, ge=1)
    built: SkipValidation[SharedGuard | None] = Field(default=None, exclude=True, repr=False)

    _guard: Guard = PrivateAttr()
    _turns: ModelQueue | SideBySide = PrivateAttr()

    @field_validator("stop", mode="before")
    @classmethod
    def _stops(cls, value: Any) -> tuple[str, ...]:
        return check_stops(value)

    @field_validator("max_tokens", "temperature", "seed", mode="before")
    @classmethod
    def _numbers(cls, value: Any, info: ValidationInfo) -> Any:
        return plain_number(str(info.field_name), value)

    @field_validator("timeout", mode="before")
    @classmethod
    def _timeout(cls, value: Any) -> float | None:
        return check_timeout(value)

    @model_validator(mode="before")
    @classmethod
    def _own_options(cls, given: Any) -> Any:
        if not isinstance(given, Mapping):
            return given
        fields = cls.model_fields
        return own_options(given, {*fields, *(f.alias for f in fields.values() if f.alias)}, cls.__name__)

    def model_post_init(self, context: Any, /) -> None:
        self.cache = _cache_under(self.stream_policy, self.cache)
        given = {name: getattr(self, name) for name in _MADE_OF}
        if self.built is None or not self.built.is_made_of(given):
            self.built = self._build(self.built)
        self._guard, self._turns = self.built.guard, self.built.turns
        self._check_claims(self.stream_policy)
        super().model_post_init(context)

    def _build(self, before: SharedGuard | None) -> SharedGuard:
        """The Guard of these fields. before: that of the chat model which this one is a changed copy of."""
        if not isinstance(self.model, (str, os.PathLike, LocalModel)):
            raise ModelError(
                f"the model is {self.model!r:.80}; give a name (hub id, folder, .gguf file) or LocalModel(module, tokenizer)"
            )
        if isinstance(self.model, LocalModel):
            if before is None or self.model is not before.guard.model:
                self._check_loading(self.model)
        else:
            self.model = load_model(
                os.fspath(self.model),
                device=self.device,
                dtype=self.dtype,
                chat_template=self.chat_template,
                chat_template_kwargs=self.chat_template_kwargs,
            )
        unchanged = before is not None and self.calibrator is not None and self.calibrator is before.given["calibrator"]
        guard = Guard(
            model=self.model,
            scorer=self.scorer,
            calibrator=before.guard.calibrator if before and unchanged else self.calibrator,
            policy=self.policy,
            retriever=self.retriever,
            observers=self.observers,
            claims=self.claims,
            claim_calibrator=self.claim_calibrator,
            question_calibrator=self.question_calibrator,
            verifier=self.verifier,
            escalate_to=self.escalate_to,
            calibrator_name=before.guard.calibrator_name if before and unchanged else None,
        )
        return SharedGuard(guard, {name: getattr(self, name) for name in _MADE_OF})

    def _check_claims(self, stream_policy: str) -> None:
        claims = self._guard.claim_pipeline
        if stream_policy == "claim" and claims is None:
            raise ModelError(
                f"stream_policy 'claim' needs a guard that looks at claims, and policy {self._guard.policy.name!r} does not; "
                "take policy='per_claim', or claims='sentences'"
            )
        if stream_policy == "claim" and claims is not None and isinstance(claims.extractor, OF_WHOLE_ANSWERS):
            raise ModelError(
                f"stream_policy 'claim' needs claims as they come; the extractor {claims.extractor.name!r} reads whole answers"
            )

    def _check_loading(self, model: LocalModel) -> None:
        for name in ("device", "dtype", "chat_template", "chat_template_kwargs"):
            if getattr(self, name) is not None:
                raise ModelError(
                    f"{name} says how to load a model, and this one ({model.name}) is loaded already; leave it out, or "
                    "give the model's name"
                )

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
        self._check_claims(update.get("stream_policy", self.stream_policy))
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
        """A Guard that exists already, as it is; options: max_tokens, stream_policy and the like.

        Raises `ModelError` for an option that the Guard has settled (policy, calibrator, device and so on).
        """
        if settled := sorted(options.keys() & _GUARD_FIELDS):
            raise ModelError(
                f"{', '.join(settled)} cannot be given here, the guard has it already; build another Guard"
            )
        made_of: dict[str, Any] = {name: getattr(guard, name, None) for name in _MADE_OF}
        return cls(**made_of, built=SharedGuard(guard, made_of), **options)

    def get_token_ids(self, text: str) -> list[int]:
        """Token ids of a text, by the model's own tokenizer (LangChain's default would fetch that of GPT-2)."""
        ids: list[int] = self._guard.model.tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids

    def get_num_tokens_from_messages(self, messages: Sequence[BaseMessage], tools: Sequence[Any] | None = None) -> int:
        """Tokens of the prompt that these messages make, with the chat template's own; for `trim_messages`.

        Raises `UnsupportedModelError` behind an endpoint, whose template is not known here.
        """
        if not self._guard.model.has_weights:
            raise UnsupportedModelError("an endpoint's template is not known here; give trim_messages a token_counter")
        shown = [convert_to_openai_tool(tool) for tool in tools or ()]
        return len(self._guard.model.encode_prompt(to_chat_messages(messages), shown))

    @property
    def guard(self) -> Guard:
        """The Guard that answers."""
        return self._guard

    def unguarded(self) -> UnguardedChat:
        """The same weights and decoding without the guard, for summaries, rewritten queries and the like.

        Returns:
            A chat model whose messages nobody has judged: do not show them as answers.
        """
        limit = self._guard.usual_length if self.max_tokens is None else self.max_tokens
        return UnguardedChat(
            local=self._guard.model,
            max_tokens=limit,
            temperature=self.temperature,
            seed=self.seed,
            stop=self.stop,
            timeout=self.timeout,
        )

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
        return {**(self.built.identity if self.built else {}), **{name: getattr(self, name) for name in _CALL_FIELDS}}

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
    """The field `cache`: where text leaves before the verdict never LangChain's global cache either, whose entries `invoke`
    would read. An entry may hold what was streamed too early, and the cache cannot tell it from a held answer.
    """
    if stream_policy == "answer":
        return cache
    if cache:
        raise ModelError(
            f"stream_policy {stream_policy!r} takes no cache: invoke would give out text that was streamed before its verdict; "
            "leave cache out, or use stream_policy='answer'"
        )
    return False


_MADE_OF = (
    *("model", "policy", "calibrator", "retriever", "scorer", "observers"),
    *("claims", "claim_calibrator", "question_calibrator", "verifier", "escalate_to"),
)
_GUARD_FIELDS = frozenset((*_MADE_OF, "device", "dtype", "chat_template", "chat_template_kwargs", "built"))
_CALL_FIELDS = (
    *("max_tokens", "temperature", "seed", "stop", "stream_policy", "as_question", "score_tool_calls"),
    *("include_original", "raise_on_abstain"),
)
