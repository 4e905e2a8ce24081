"""The JSON of a verdict, `Verdict.to_dict()` and `guardrail ask --json`, as types: the source of its JSON Schema."""

from __future__ import annotations

from typing import Annotated, Literal, NotRequired

from pydantic import ConfigDict, Field, with_config
from typing_extensions import TypedDict

from guardrail.types import Action, Label
from guardrail.types.names import AsideReason, ClaimAction, ClaimKind, FinishReason, Support, UnscoredReason

Probability = Annotated[float, Field(ge=0, le=1)]
_CLOSED = with_config(ConfigDict(extra="forbid"))


@_CLOSED
class ScoreJson(TypedDict):
    """Higher = more uncertain. Numbers are null, with `unscored` and `detail`, where there is no score."""

    hybridgrad: NotRequired[float | None]
    semgrad: NotRequired[float | None]
    paragrad: NotRequired[float | None]
    entropy: NotRequired[float | None]
    nll: NotRequired[float | None]
    length: int
    name: NotRequired[str]
    number: NotRequired[float | None]
    unscored: NotRequired[UnscoredReason | None]
    detail: NotRequired[str]


@_CLOSED
class EvidenceJson(TypedDict):
    """A passage; `similarity` is its cosine to the query."""

    text: str
    source: str
    similarity: float | None


class JudgedJson(TypedDict):
    """What an answer and a claim have in common. `confidence` is the calibrated probability of being right."""

    rule: str
    explanation: str
    confidence: Probability | None
    confidence_interval: tuple[Probability, Probability] | None
    label: Label | None
    in_range: bool
    basis: Literal["calibrated", "extrapolated", "none"]
    familiarity: Probability | None
    context: NotRequired[str]
    score: ScoreJson
    evidence: list[EvidenceJson]


@_CLOSED
class OrdersJson(TypedDict):
    """The confidence with the passages in several orders, the prompt's first; mean and spread are null where one has none."""

    confidences: list[Probability | None]
    mean: Probability | None
    spread: Probability | None


@_CLOSED
class ConsistencyJson(TypedDict):
    """How many samples of the prompt say what the answer says; share is null, with a reason, where that was not measured."""

    samples: int
    share: Probability | None
    reason: NotRequired[str]


@_CLOSED
class AttemptJson(JudgedJson):
    """One pass: what the model said and what the policy decided."""

    answer: str
    action: Action
    finish_reason: FinishReason
    orders: NotRequired[OrdersJson]
    consistency: NotRequired[ConsistencyJson]


@_CLOSED
class ClaimJson(JudgedJson):
    """One claim: `answer[start:end]` is where it stands, `shown` what stands for it in `text`."""

    text: str
    start: int
    end: int
    kind: ClaimKind
    token_start: int
    token_end: int
    action: ClaimAction
    support: Support | None
    shown: str


@_CLOSED
class AsideJson(TypedDict):
    """A part of the answer that is not checked, and why."""

    text: str
    start: int | None
    end: int | None
    reason: AsideReason


@_CLOSED
class AskedFirstJson(TypedDict):
    """What was known before anything was generated: `confidence` is that the model would answer rightly."""

    searched: bool
    explanation: str
    confidence: Probability | None
    confidence_interval: tuple[Probability, Probability] | None
    label: Label | None
    in_range: bool
    basis: Literal["calibrated", "extrapolated", "none"]
    reason: NotRequired[str]
    familiarity: Probability | None


@_CLOSED
class SpentJson(TypedDict):
    """What one of two models did: `score` and `confidence` are those of its last attempt, `read` and `written` are tokens."""

    model: str
    calibrator: str | None
    passes: int
    score: float | None
    confidence: Probability | None
    timing_ms: dict[str, float]
    read: int
    written: int


@_CLOSED
class EscalationJson(TypedDict):
    """Only where a second model spoke: its attempts stand behind the first's."""

    first: SpentJson
    second: SpentJson


@_CLOSED
class VerdictJson(AttemptJson):
    """`text` is what the user is shown; the keys of the last attempt stand at the top."""

    text: str
    original: str
    actions: list[Action]
    attempts: list[AttemptJson]
    claims: list[ClaimJson]
    asides: list[AsideJson]
    timing_ms: dict[str, float]
    model: str
    calibrator: str | None
    claim_calibrator: str | None
    policy: str
    asked_first: NotRequired[AskedFirstJson]
    escalation: NotRequired[EscalationJson]
