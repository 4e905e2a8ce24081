"""Verdict -> `response_metadata["guardrail"]`: what every part of this package writes and reads. Knows nothing about models.

The contract has a version. Keys are only added within one; a key that changes its meaning or goes makes the next one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import (
    Any,
    Literal,
    NotRequired,  # pydantic wants these before Python 3.12
    cast,
)

from typing_extensions import TypedDict

from guardrail.types import (
    Action,
    ClaimAction,
    ClaimKind,
    FinishReason,
    JudgedClaim,
    Label,
    Score,
    Support,
    UnscoredReason,
    Verdict,
)

METADATA_VERSION = 1
"""The version that `verdict_metadata` writes."""

METADATA_KEY = "guardrail"
"""Where it stands in a message's `response_metadata`."""


class ScoreParts(TypedDict):
    """The raw score, higher = more uncertain. entropy: mean over the response tokens, nats; nll: summed, nats.

    The first five keys are HybridGrad's. Of another scorer the dict holds `name`, `number`, `length` and what else it computed.
    """

    hybridgrad: NotRequired[float]
    semgrad: NotRequired[float]
    paragrad: NotRequired[float]
    entropy: NotRequired[float]
    nll: NotRequired[float]
    length: int
    name: NotRequired[str]
    number: NotRequired[float]


class EvidenceMetadata(TypedDict):
    """A passage that was put into the prompt; similarity is None where the retriever does not say."""

    text: str
    source: str
    similarity: float | None


class ClaimMetadata(TypedDict):
    """One claim of a long answer, in the answer's order.

    text: the claim; None where the policy held it back, unless the original was asked for. shown: what stands for it in the
    message, empty where nothing does. path: where a field stands in its JSON, a JSON pointer; left out for other kinds.
    start, end: its characters in what the model said; token_start, token_end: its tokens in
    the response. action: keep, hedge or drop. support: what evidence says; None where it was not looked up. evidence: the
    passage that settles it first. The rest is as in `VerdictMetadata`, of the claim alone.
    """

    text: str | None
    shown: str
    kind: ClaimKind
    path: NotRequired[str]
    start: int
    end: int
    token_start: int
    token_end: int
    score: ScoreParts | None
    unscored: UnscoredReason | None
    confidence: float | None
    confidence_interval: list[float] | None
    label: Label | None
    basis: Literal["calibrated", "extrapolated", "none"]
    in_range: bool
    familiarity: float | None
    action: ClaimAction
    rule: str
    explanation: str
    support: Support | None
    evidence: list[EvidenceMetadata]


class VerdictMetadata(TypedDict):
    """The contract, version 1: JSON objects, lists, strings, finite numbers, booleans and null; nothing else.

    >>> from langchain_core.messages import AIMessage
    >>> message = AIMessage("Goethe", response_metadata={"guardrail": {"version": 1, "label": "high"}})
    >>> verdict: VerdictMetadata | None = read_metadata(message)
    >>> verdict["label"]
    'high'

    Attributes:
        version: 1.
        action: What the policy decided.
        enforced: Whether the message's text is what the policy made of it; False where it was out already (passed-through
            streams, callbacks), so that `action` says what would have been done, and for turns of tool calls that pass
            unscored.
        actions: Of every pass, oldest first, e.g. `["retrieve", "answer"]`.
        rule: The policy's rule that fired.
        explanation: One sentence.
        confidence: Calibrated probability of being right, in [0, 1]; higher = more certain.
        confidence_interval: [low, high], 95 %.
        label: Of five.
        basis: "calibrated"; "extrapolated", see `basis_reason`; or "none", without a number.
        basis_reason: Why there is no number, or why the basis is "extrapolated"; else empty.
        in_range: Whether the score lay within the calibrated range.
        familiarity: How like those of the calibration the question is, in (0, 1]; 0.05 or less is unlike. None where that is
            not known.
        score: The raw parts, None when `unscored` says why.
        unscored: Why there is no score, else None.
        finish_reason: Why generation ended.
        model: The model's name.
        calibrator: The calibrator's name.
        policy: The policy's name.
        evidence: Passages in the prompt.
        latency_ms: Wall time by stage, in milliseconds, summed over the passes; a batch's time is divided by its rows.
        claims: Of a long answer, where the guard takes it apart; else empty.
        claim_calibrator: The name of theirs.
        text_hash: Of the message that the verdict is on, see `shown_hash`; a message with another one counts as unjudged.
        context: The kind of conversation whose curve of its own the confidence comes from; else left out.
        reviewed: True where a person has put a text in the place of what was shown; else left out.
        original: What the model said, unchanged. Left out unless asked for: under `abstain` it is the text that nobody shall
            see, and traces, logs and user interfaces read metadata.
        asked_first: What was known before anything was generated (`AskedFirst.to_dict`); left out where nothing was asked.
        escalation: Which models answered, and what each cost (`Escalation.to_dict`), where a second one spoke; `model`,
            `calibrator` and the confidence are then the second's. Left out elsewhere.
        orders: The confidence in several orders of the passages (`InOrders.to_dict`); left out where that was not measured.
        consistency: How many samples agree with the answer (`Consistency.to_dict`); left out where none was drawn.
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
    familiarity: float | None
    score: ScoreParts | None
    unscored: UnscoredReason | None
    finish_reason: FinishReason
    model: str
    calibrator: str | None
    policy: str
    evidence: list[EvidenceMetadata]
    latency_ms: dict[str, float]
    claims: list[ClaimMetadata]
    claim_calibrator: str | None
    text_hash: str
    context: NotRequired[str]
    reviewed: NotRequired[bool]
    original: NotRequired[str]
    asked_first: NotRequired[dict[str, Any]]
    escalation: NotRequired[dict[str, Any]]
    orders: NotRequired[dict[str, Any]]
    consistency: NotRequired[dict[str, Any]]


def verdict_metadata(
    verdict: Verdict, *, enforced: bool = True, include_original: bool = False, text_hash: str | None = None
) -> dict[str, Any]:
    """A `VerdictMetadata` for a verdict, JSON-ready.

    >>> metadata = verdict_metadata(guard.answer("Who wrote Faust?", max_new_tokens=2))
    >>> metadata["version"], metadata["action"], metadata["enforced"]
    (1, 'answer', True)

    Args:
        verdict: What a guard decided.
        enforced: False where the model's own text was shown, whatever the policy says.
        include_original: Add what the model said, also where the policy held it back.
        text_hash: Of the message that carries it, where that holds something else than the verdict's text (the model's own, if
            not enforced).

    Returns:
        A plain dict, for LangChain merges and serialises those.
    """
    values = {
        **verdict.to_dict(),
        "version": METADATA_VERSION,
        "enforced": enforced,
        "basis_reason": verdict.confidence.reason,
        "score": _parts(verdict.score),
        "unscored": verdict.score.unscored,
        "claims": [_claim(claim, include_original) for claim in verdict.claims],
        "text_hash": text_hash or shown_hash(verdict.text if enforced else verdict.answer),
        "original": verdict.answer,
    }
    values["latency_ms"] = values["timing_ms"]
    left_out = {"reviewed"} if include_original else {"reviewed", "original"}
    return {key: values[key] for key in VerdictMetadata.__annotations__ if key in values and key not in left_out}


def shown_hash(text: str, calls: Sequence[Mapping[str, Any]] = ()) -> str:
    """SHA-256 of what a message shows: its text, and the names and arguments of its tool calls. No signature: see `is_judged`.

    >>> shown_hash("Goethe") == shown_hash("Goethe", [])
    True
    """
    shown = [text, [[call["name"], call["args"]] for call in calls]]
    return hashlib.sha256(json.dumps(shown, sort_keys=True, default=str).encode()).hexdigest()


def is_judged(message: Any) -> bool:
    """Whether a guard has judged a message and it still shows what the policy made of it.

    Another component's metadata, or a text that was changed afterwards, does not pass for judged by accident. This is not
    tamper-proof: whoever can write a message can write its hash.
    """
    verdict = read_metadata(message)
    if verdict is None or verdict.get("enforced") is not True:
        return False
    return verdict.get("text_hash") == shown_hash(str(message.text), getattr(message, "tool_calls", ()))


def read_metadata(message: Any) -> VerdictMetadata | None:
    """The verdict in a LangChain message, or None where no guard wrote one (or one of a newer contract did).

    >>> from langchain_core.messages import AIMessage
    >>> read_metadata(AIMessage("Goethe", response_metadata={"guardrail": {"version": 1, "action": "answer"}}))["action"]
    'answer'
    >>> read_metadata(AIMessage("Goethe")) is None
    True

    Args:
        message: A LangChain message or chunk.

    Returns:
        The `VerdictMetadata` in it; None of a message without one.
    """
    found = (getattr(message, "response_metadata", None) or {}).get(METADATA_KEY)
    if not isinstance(found, Mapping) or found.get("version") != METADATA_VERSION:
        return None
    return cast("VerdictMetadata", found)


def _claim(judged: JudgedClaim, include_original: bool) -> dict[str, Any]:
    """A `ClaimMetadata`."""
    values = {
        **judged.to_dict(),
        "text": judged.text if judged.shown or include_original else None,
        "score": _parts(judged.score),
        "unscored": judged.score.unscored,
    }
    return {key: values[key] for key in ClaimMetadata.__annotations__ if key in values}


def _parts(score: Score) -> dict[str, Any] | None:
    return None if score.unscored is not None else score.to_dict()
