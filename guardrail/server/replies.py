"""What the server answers, as types: the source of the responses in `/openapi.json`, which a test compares with real ones."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel, ConfigDict, Field
from pydantic.json_schema import models_json_schema

from guardrail.langchain.metadata import ScoreParts, VerdictMetadata
from guardrail.langchain.settings import StreamPolicy
from guardrail.types import Action, ClaimAction, Label, UnscoredReason

Probability = Annotated[float, Field(ge=0, le=1)]


class Reply(BaseModel):
    """What holds for all of them."""

    model_config = ConfigDict(extra="forbid", protected_namespaces=())


class ErrorObject(Reply):
    message: str
    type: str
    param: str | None
    code: str


class Error(Reply):
    """OpenAI's shape. Nothing of a model's text is in it."""

    error: ErrorObject


class Status(Reply):
    status: Literal["ok", "loading", "ready", "draining", "failed"]


class Model(Reply):
    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    dtype: str


class Models(Reply):
    object: Literal["list"]
    data: list[Model]


class Called(Reply):
    name: str
    arguments: str


class ToolCall(Reply):
    id: str | None
    type: Literal["function"]
    function: Called
    index: int = Field(default=0, description="In chunks alone.")


class ReplyMessage(Reply):
    role: Literal["assistant"]
    content: str | None
    refusal: None
    tool_calls: list[ToolCall] = Field(default=[], description="Left out where there are none.")


class Usage(Reply):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class PendingVerdict(Reply):
    """Beside an answer that did not wait for its verdict, and under its id until that is there."""

    id: str
    object: Literal["guardrail.verdict"]
    status: Literal["pending"]
    enforced: Literal[False]


class DoneVerdict(Reply):
    id: str
    object: Literal["guardrail.verdict"]
    status: Literal["done"]
    enforced: Literal[False]
    guardrail: VerdictMetadata


class FailedVerdict(Reply):
    """There is no verdict, and so no confidence."""

    id: str
    object: Literal["guardrail.verdict"]
    status: Literal["failed"]
    enforced: Literal[False]
    error: ErrorObject


LateVerdict: TypeAlias = DoneVerdict | FailedVerdict
FinishReason: TypeAlias = Literal["stop", "length", "tool_calls"]


class Choice(Reply):
    index: int
    message: ReplyMessage
    logprobs: None
    finish_reason: FinishReason
    token_ids: list[int] = Field(
        default=[], description="Of what was generated, where `return_token_ids` asks for them."
    )
    guardrail: VerdictMetadata | PendingVerdict


class ChatCompletion(Reply):
    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    choices: list[Choice]
    usage: Usage
    prompt_token_ids: list[int] = Field(default=[], description="Where `return_token_ids` asks for them.")


class Delta(Reply):
    role: Literal["assistant"] = "assistant"
    content: str = ""
    tool_calls: list[ToolCall] = []


class ChunkChoice(Reply):
    index: int
    delta: Delta
    logprobs: None
    finish_reason: FinishReason | None
    token_ids: list[int] = Field(
        default=[], description="Of what was generated, where `return_token_ids` asks for them."
    )
    guardrail: VerdictMetadata | PendingVerdict | None = Field(default=None, description="In the last one alone.")


class ChatCompletionChunk(Reply):
    """Of `text/event-stream`: each event's data, before `[DONE]`."""

    id: str
    object: Literal["chat.completion.chunk"]
    created: int
    model: str
    choices: list[ChunkChoice]
    prompt_token_ids: list[int] = Field(default=[], description="Where `return_token_ids` asks for them.")
    usage: Usage | None = Field(default=None, description="In the chunk that include_usage asks for.")


class ScoreReply(Reply):
    id: str
    object: Literal["guardrail.score"]
    model: str
    score: ScoreParts | None
    unscored: UnscoredReason | None
    confidence: Probability | None
    confidence_interval: tuple[Probability, Probability] | None
    label: Label | None
    in_range: bool
    basis: Literal["calibrated", "extrapolated", "none"]
    basis_reason: str
    familiarity: Probability | None
    calibrator: str | None


class CheckReply(Reply):
    id: str
    object: Literal["guardrail.check"]
    model: str
    text: str
    guardrail: VerdictMetadata


class ClaimDecision(Reply):
    action: ClaimAction
    rule: str
    label: Label | None
    explanation: str
    template: str | None


class DecisionReply(Reply):
    object: Literal["guardrail.decision"]
    policy: str
    action: Action
    rule: str
    label: Label | None
    explanation: str
    template: str | None
    claims: list[ClaimDecision]


class PolicyReply(Reply):
    name: str
    description: str
    judges_claims: bool


class Allowed(Reply):
    include_original: bool
    stream_policy: list[StreamPolicy]
    observe: bool


class Policies(Reply):
    object: Literal["list"]
    default: str
    data: list[PolicyReply]
    allowed: Allowed


Responses: TypeAlias = dict[int | str, dict[str, Any]]
_MEANINGS = {
    400: "What is asked for makes no sense, is not known here, or not allowed.",
    401: "No key, or a wrong one.",
    403: "Another host than this one, or a page that may not ask.",
    404: "There is no such thing.",
    408: "The body did not come in time.",
    413: "The body is too large.",
    415: "The body is not JSON.",
    429: "Too much to do, or the key's limits are reached.",
    431: "The headers are too large.",
    500: "Something went wrong here.",
    503: "The model loads, the server drains, or it has failed.",
    504: "It was not done within the timeout.",
}
_ALWAYS, _KEYED, _BODY, _WORK = (403, 431, 500), (401, 429), (400, 408, 413, 415), (404, 429, 503, 504)
_SECONDS = {"schema": {"type": "integer", "minimum": 1}, "description": "Seconds until another try may succeed."}
_TIMEOUT = {
    "name": "X-Request-Timeout",
    "in": "header",
    "description": "Seconds until there must be a verdict; the field `timeout` goes first.",
    "schema": {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 86_400},
}
TIMED = {"parameters": [_TIMEOUT]}
"""`openapi_extra` of the routes that take a timeout as a header."""


def errors(*statuses: int) -> Responses:
    """The responses of a route that may answer with these errors."""
    out: Responses = {s: {"model": Error, "description": _MEANINGS[s]} for s in sorted({*_ALWAYS, *statuses})}
    for status in (429, 503):
        if status in out:
            out[status]["headers"] = {"Retry-After": _SECONDS}
    return out


def gist(**more: str) -> dict[str, Any]:
    """The headers of a response; more: others, with what they say."""
    told = {"X-Guardrail-Action": "What the policy decided.", "X-Guardrail-Confidence": "Left out where there is none."}
    return {name: {"schema": {"type": "string"}, "description": text} for name, text in {**told, **more}.items()}


KEYED = errors(*_KEYED)
GIVEN = errors(*_KEYED, *_BODY, 503)
WORKING = errors(*_KEYED, *_BODY, *_WORK)
CHAT: Responses = {
    200: {
        "model": ChatCompletion,
        "description": "Plain, or as server-sent events where `stream` is true.",
        "headers": gist(**{"X-Guardrail-Verdict": "The id of a verdict that comes later (mode observe)."}),
        "content": {"text/event-stream": {"schema": {"$ref": "#/components/schemas/ChatCompletionChunk"}}},
    },
    **WORKING,
}
LATE: Responses = {
    200: {"model": LateVerdict, "description": "It is there, or there will be none."},
    202: {"model": PendingVerdict, "description": "Not yet.", "headers": {"Retry-After": _SECONDS}},
    **errors(*_KEYED, 404),
}
_AS_JSON = {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}}
METRICS: Responses = {status: {"description": _MEANINGS[int(status)], **_AS_JSON} for status in KEYED}


def describe(app: FastAPI, *, keys: bool) -> None:
    """Make `/openapi.json` say what is so: FastAPI tells of answers with 422, and nothing of chunks and keys."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            found = get_openapi(title=app.title, version=app.version, routes=app.routes)
            chunk = [(ChatCompletionChunk, "serialization")]
            _, more = models_json_schema(chunk, ref_template="#/components/schemas/{model}")  # type: ignore[arg-type]
            schemas = found["components"]["schemas"]
            schemas |= {name: schema for name, schema in more["$defs"].items() if name not in schemas}
            for name in ("HTTPValidationError", "ValidationError"):
                schemas.pop(name, None)
            for path, item in found["paths"].items():
                for operation in item.values():
                    operation["responses"].pop("422", None)
                    if keys and path.startswith(("/v1/", "/metrics")):
                        operation["security"] = [{"key": []}]
            if keys:
                found["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
            app.openapi_schema = found
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]
