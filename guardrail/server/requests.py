"""What a body may say, strictly: a field that is not here is refused by its name."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from guardrail.types import ClaimKind, FinishReason, Support, UnscoredReason

MOST_MESSAGES, MOST_TOOLS, MOST_CLAIMS, MOST_NAMES = 512, 64, 512, 64


class Body(BaseModel):
    """What holds for all of them."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, hide_input_in_errors=True)


class TextPart(Body):
    type: Literal["text"]
    text: str


class CalledFunction(Body):
    name: str
    arguments: str


class CalledTool(Body):
    id: str
    type: Literal["function"] = "function"
    function: CalledFunction


class ChatMessage(Body):
    """One turn. `refusal` and `annotations` may stand there as OpenAI's answers have them, empty."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[TextPart] | None = None
    name: str | None = None
    tool_calls: list[CalledTool] | None = None
    tool_call_id: str | None = None
    refusal: None = None
    annotations: list[None] | None = Field(default=None, max_length=0)

    @model_validator(mode="after")
    def _whole(self) -> ChatMessage:
        if self.content is None and not self.tool_calls:
            raise ValueError("content is missing; only a turn that calls tools goes without")
        if self.tool_calls and self.role != "assistant":
            raise ValueError("only an assistant's turn has tool_calls")
        if (self.role == "tool") != (self.tool_call_id is not None):
            raise ValueError("a turn of the role 'tool' has a tool_call_id, and no other has one")
        return self


class Function(Body):
    name: str = Field(min_length=1, max_length=64)
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class OfferedTool(Body):
    type: Literal["function"]
    function: Function


class NamedFunction(Body):
    name: str


class NamedTool(Body):
    type: Literal["function"]
    function: NamedFunction


class JsonSchema(Body):
    model_config = ConfigDict(populate_by_name=True, protected_namespaces=())

    name: str = Field(max_length=64)
    description: str | None = None
    schema_: dict[str, Any] = Field(alias="schema")
    strict: bool | None = None


class ResponseFormat(Body):
    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None


class StreamOptions(Body):
    include_usage: bool = False
    include_obfuscation: Literal[False] | None = None


class GuardOptions(Body):
    """`observe` answers at once; the verdict is asked for later, or told to the webhook."""

    policy: str | None = None
    claims: bool = False
    include_original: bool = False
    stream_policy: Literal["answer", "claim", "passthrough"] | None = None
    mode: Literal["enforce", "observe"] = "enforce"
    webhook: str | None = Field(default=None, max_length=2000)

    @model_validator(mode="after")
    def _agree(self) -> GuardOptions:
        if self.mode == "observe" and self.stream_policy is not None:
            raise ValueError(
                "stream_policy says what is held back, and the mode 'observe' holds nothing back; leave it out"
            )
        if self.webhook is not None and self.mode != "observe":
            raise ValueError("a webhook is told of verdicts that come later: it goes with mode: observe")
        return self


class ChatRequest(Body):
    model: str
    messages: list[ChatMessage] = Field(min_length=1, max_length=MOST_MESSAGES)
    max_completion_tokens: int | None = Field(default=None, ge=1)
    max_tokens: int | None = Field(default=None, ge=1)
    temperature: float | None = Field(default=None, ge=0, le=2)
    seed: int | None = Field(default=None, ge=-(2**63), lt=2**63)
    stop: str | list[str] | None = None
    stream: bool = False
    stream_options: StreamOptions | None = None
    tools: list[OfferedTool] | None = Field(default=None, max_length=MOST_TOOLS)
    tool_choice: Literal["none", "auto", "required"] | NamedTool | None = None
    response_format: ResponseFormat | None = None
    timeout: float | None = Field(default=None, gt=0)
    user: str | None = None
    metadata: dict[str, str] | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = Field(default=None, ge=0, le=20)
    return_token_ids: bool | None = None
    # Only with the value that changes nothing
    n: Literal[1] | None = None
    top_p: float | None = Field(default=None, ge=1, le=1)
    presence_penalty: float | None = Field(default=None, ge=0, le=0)
    frequency_penalty: float | None = Field(default=None, ge=0, le=0)
    logit_bias: None = None
    parallel_tool_calls: Literal[True] | None = None
    store: Literal[False] | None = None
    guardrail: GuardOptions = Field(default_factory=GuardOptions)

    @model_validator(mode="after")
    def _agrees(self) -> ChatRequest:
        if self.max_tokens is not None and self.max_completion_tokens is not None:
            raise ValueError("give max_completion_tokens or max_tokens, not both")
        if self.top_logprobs is not None and not self.logprobs:
            raise ValueError("top_logprobs goes with logprobs: true")
        if self.stream_options is not None and not self.stream:
            raise ValueError("stream_options goes with stream: true")
        if isinstance(self.stop, list) and len(self.stop) > 4:
            raise ValueError("stop has at most 4 strings")
        return self


class ScoreRequest(Body):
    model: str | None = None
    messages: list[ChatMessage] = Field(min_length=1, max_length=MOST_MESSAGES)
    answer: str
    finish_reason: Literal["given", "stop", "length"] = "given"
    timeout: float | None = Field(default=None, gt=0)


class CheckOptions(Body):
    policy: str | None = None
    claims: bool = False
    include_original: bool = False


class CheckRequest(ScoreRequest):
    guardrail: CheckOptions = Field(default_factory=CheckOptions)


class DecidedClaim(Body):
    confidence: float | None = Field(ge=0, le=1)
    in_range: bool = True
    familiarity: float | None = Field(default=None, ge=0, le=1)
    length: int = Field(default=1, ge=0, lt=2**31)
    kind: ClaimKind = "sentence"
    support: Support | None = None


class CountedNames(Body):
    """The names of a question, counted in a corpus. apart: the pairs of them that no passage has together."""

    counts: dict[str, Annotated[int, Field(ge=0)]] = Field(min_length=1, max_length=MOST_NAMES)
    apart: list[Annotated[list[str], Field(min_length=2, max_length=2)]] = Field(default=[], max_length=MOST_NAMES)

    @model_validator(mode="after")
    def _agree(self) -> CountedNames:
        if unknown := [name for pair in self.apart for name in pair if name not in self.counts]:
            raise ValueError(f"apart names {unknown[0]!r:.80}, which is not in counts; give its count, or leave it out")
        if any(first == second for first, second in self.apart):
            raise ValueError("apart has a name that stands apart from itself; give two names")
        return self


class DecideRequest(Body):
    """What is known of an answer. ambiguity: the question's score by the scorer of the policy's `ambiguity`; spread: of the
    confidence over orders of the passages. consistency: the share of samples that agree."""

    policy: str | None = None
    threshold: float | None = Field(default=None, ge=0, le=1)
    confidence: float | None = Field(ge=0, le=1)
    in_range: bool = True
    familiarity: float | None = Field(default=None, ge=0, le=1)
    length: int = Field(default=1, ge=0, lt=2**31)
    unscored: UnscoredReason | None = None
    finish_reason: FinishReason = "stop"
    evidence: int = Field(default=0, ge=0, le=1000)
    retriever: bool = False
    second_model: bool = False
    retry: bool = False
    claims: list[DecidedClaim] | None = Field(default=None, max_length=MOST_CLAIMS)
    ambiguity: float | None = None
    spread: float | None = Field(default=None, ge=0, le=1)
    names: CountedNames | None = None
    consistency: float | None = Field(default=None, ge=0, le=1)

    @model_validator(mode="after")
    def _one(self) -> DecideRequest:
        if (self.policy is None) == (self.threshold is None):
            raise ValueError("give policy or threshold, one of them")
        if self.unscored is not None and self.confidence is not None:
            raise ValueError("an unscored answer has no confidence; leave one of them out")
        return self
