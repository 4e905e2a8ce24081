"""A long answer taken apart: claims, and what became of each."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from guardrail.types.judgement import Confidence, Evidence, Score
from guardrail.types.names import AsideReason, ClaimAction, ClaimKind, Label, Support


@dataclass(frozen=True, slots=True)
class Claim:
    """A part of an answer that is right or wrong by itself: `answer[start:end]` is where it stands.

    text: the claim as a statement; the source itself, or a model's wording of it (kind "atomic").
    """

    text: str
    start: int
    end: int
    kind: ClaimKind = "sentence"


@dataclass(frozen=True, slots=True)
class Aside:
    """A part of an answer that is not checked, and why. An unaligned one has no place: start and end are None."""

    text: str
    start: int | None
    end: int | None
    reason: AsideReason


@dataclass(frozen=True, slots=True)
class Claims:
    """An answer taken apart, both in the order of the text; claims may share characters only if a model made them."""

    claims: tuple[Claim, ...]
    asides: tuple[Aside, ...] = ()


@dataclass(frozen=True, slots=True)
class Verification:
    """What evidence says about one claim: the passage that settles it first. method: how it was decided, one line.

    p_supported: the method's own number in [0, 1] where it has one; it is not calibrated.
    """

    support: Support
    method: str
    evidence: tuple[Evidence, ...] = ()
    p_supported: float | None = None


@dataclass(frozen=True, slots=True)
class ClaimDecision:
    """What a policy says to do with one claim; as `Decision`, for a claim. `{answer}` in the template is the claim."""

    action: ClaimAction
    rule: str
    explanation: str
    template: str | None = None


@dataclass(frozen=True, slots=True)
class JudgedClaim:
    """One claim at the end of the flow. token_start, token_end: its tokens, `response_ids[token_start:token_end]`.

    verification: what retrieval found; None where it was not asked for. shown: what stands for it in the verdict's text,
    empty where it was dropped.
    """

    claim: Claim
    token_start: int
    token_end: int
    score: Score
    confidence: Confidence
    decision: ClaimDecision
    verification: Verification | None = None
    shown: str = ""

    @property
    def text(self) -> str:
        return self.claim.text

    @property
    def action(self) -> ClaimAction:
        return self.decision.action

    @property
    def label(self) -> Label | None:
        return self.confidence.label

    @property
    def evidence(self) -> tuple[Evidence, ...]:
        return self.verification.evidence if self.verification else ()

    def to_dict(self) -> dict[str, Any]:
        confidence = self.confidence
        return {
            **asdict(self.claim),
            "token_start": self.token_start,
            "token_end": self.token_end,
            "score": self.score.to_dict(),
            "confidence": confidence.p_correct,
            "confidence_interval": None if confidence.low is None else [confidence.low, confidence.high],
            "label": confidence.label,
            "in_range": confidence.in_range,
            "basis": confidence.basis,
            "action": self.decision.action,
            "rule": self.decision.rule,
            "explanation": self.decision.explanation,
            "support": self.verification.support if self.verification else None,
            "evidence": [asdict(e) for e in self.evidence],
            "shown": self.shown,
        }
