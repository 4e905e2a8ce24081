"""Verdict -> `response_metadata["guardrail"]`: what every part of this package writes and reads. Knows nothing about models.

The contract has a version. Keys are only added within one; a key that changes its meaning or goes makes the next one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import (
    Any,
    Literal,
    NotRequired,  # pydantic wants these before Python 3.12
    cast,
)

from typing_extensions import TypedDict

from guardrail.types import Action, FinishReason, Label, Score, UnscoredReason, Verdict

METADATA_VERSION = 1
"""The version that `verdict_metadata` writes."""

METADATA_KEY = "guardrail"
"""Where it stands in a message's `response_metadata`."""


class ScoreParts(TypedDict):
    """The raw score, higher = more uncertain. entropy: mean over the response tokens, nats; nll: summed, nats.

    These keys are HybridGrad's. Of another scorer the dict holds `name`, `number`, `length` and what else it computed.
    """

    hybridgrad: float
    semgrad: float
    paragrad: float
    entropy: float
    nll: float
    length: int


class EvidenceMetadata(TypedDict):
    """A passage that was put into the prompt; similarity is None where the retriever does not say."""

    text: str
    source: str
    similarity: float | None


class VerdictMetadata(TypedDict):
    """The contract, version 1: JSON objects, lists, strings, finite numbers, booleans and null; nothing else.

    version: 1. action: what the policy decided. enforced: whether the message's text is what the policy made of it; False
    where it was out already (passed-through streams, callbacks), so that `action` says what would have been done, and for
    turns of tool calls that pass unscored. actions: of every pass, oldest first, e.g. `["retrieve", "answer"]`.
    rule: the policy's rule that fired. explanation: one sentence.
    confidence: calibrated probability of being right, in [0, 1]; higher = more certain. confidence_interval: [low, high],
    95 %. label: of five. basis: "calibrated"; "extrapolated", see `basis_reason`; or "none", without a number.
    in_range: whether the score lay within the calibrated range. score: the raw parts, None when `unscored` says why.
    finish_reason: why generation ended. model, calibrator, policy: names. evidence: passages in the prompt.
    latency_ms: wall time by stage, in milliseconds, summed over the passes; a batch's time is divided by its rows.

    original: what the model said, unchanged. Left out unless asked for: under `abstain` it is the text that nobody shall
    see, and traces, logs and user interfaces read metadata.
    """

    version: int
    action: Action
    enforced: bool
    actions: list[Action]
    rule: str
    explanation: str
    confidence: float | None
    confidence_interval: list[float] | None
    label: Label | None
    basis: Literal["calibrated", "extrapolated", "none"]
    basis_reason: str
    in_range: bool
    score: ScoreParts | None
    unscored: UnscoredReason | None
    finish_reason: FinishReason
    model: str
    calibrator: str | None
    policy: str
    evidence: list[EvidenceMetadata]
    latency_ms: dict[str, float]
    original: NotRequired[str]


def verdict_metadata(verdict: Verdict, *, enforced: bool = True, include_original: bool = False) -> dict[str, Any]:
    """A `VerdictMetadata` for a verdict, JSON-ready.

    enforced: False where the model's own text was shown, whatever the policy says. include_original: add what the model
    said, also where the policy held it back. A plain dict, for LangChain merges and serialises those.
    """
    confidence, low, high = verdict.confidence, verdict.confidence.low, verdict.confidence.high
    metadata: VerdictMetadata = {
        "version": METADATA_VERSION,
        "action": verdict.action,
        "enforced": enforced,
        "actions": list(verdict.actions),
        "rule": verdict.rule,
        "explanation": verdict.explanation,
        "confidence": confidence.p_correct,
        "confidence_interval": None if low is None or high is None else [low, high],
        "label": confidence.label,
        "basis": confidence.basis,
        "basis_reason": confidence.reason,
        "in_range": confidence.in_range,
        "score": _parts(verdict.score),
        "unscored": verdict.score.unscored,
        "finish_reason": verdict.attempts[-1].finish_reason,
        "model": verdict.model,
        "calibrator": verdict.calibrator,
        "policy": verdict.policy,
        "evidence": [cast("EvidenceMetadata", asdict(e)) for e in verdict.evidence],
        "latency_ms": {stage: round(ms, 3) for stage, ms in verdict.timing_ms.items()},
    }
    if include_original:
        metadata["original"] = verdict.answer
    return dict(metadata)


def read_metadata(message: Any) -> VerdictMetadata | None:
    """The verdict in a LangChain message, or None where no guard wrote one (or one of a newer contract did).

    >>> from langchain_core.messages import AIMessage
    >>> read_metadata(AIMessage("Goethe", response_metadata={"guardrail": {"version": 1, "action": "answer"}}))["action"]
    'answer'
    >>> read_metadata(AIMessage("Goethe")) is None
    True
    """
    found = (getattr(message, "response_metadata", None) or {}).get(METADATA_KEY)
    if not isinstance(found, Mapping) or found.get("version") != METADATA_VERSION:
        return None
    return cast("VerdictMetadata", found)


def _parts(score: Score) -> ScoreParts | None:
    if score.unscored is not None:
        return None
    if score.name != "hybridgrad":
        return cast("ScoreParts", score.to_dict())
    return cast("ScoreParts", {name: getattr(score, name) for name in ScoreParts.__annotations__})
