"""A long answer taken apart: claims, and what became of each."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from guardrail.types.judgement import Confidence, Evidence, Score, check_computed
from guardrail.types.names import AsideReason, ClaimAction, ClaimKind, Label, Support


@dataclass(frozen=True, slots=True)
class Claim:
    """A part of an answer that is right or wrong by itself; its source is `answer[start:end]`.

    Attributes:
        text: The claim as a statement: the source itself, or a model's wording of it (kind "atomic").
        start: First character of the source.
        end: The character after its last.
        kind: What the claim was in the answer.
        path: Where a field stands in its JSON, as a JSON pointer (RFC 6901); None for all other kinds.
    """

    text: str
    start: int
    end: int
    kind: ClaimKind = "sentence"
    path: str | None = None


@dataclass(frozen=True, slots=True)
class Aside:
    """A part of an answer that is not checked, and why.

    Attributes:
        text: The part itself, or a model's wording of it ("unaligned").
        start: First character; None for an unaligned one, which has no place.
        end: The character after its last; None like `start`.
        reason: Why it is not checked.
    """

    text: str
    start: int | None
    end: int | None
    reason: AsideReason


@dataclass(frozen=True, slots=True)
class Claims:
    """An answer taken apart.

    Attributes:
        claims: In the order of the text. They share characters only if a model took them out.
        asides: What is not checked, in the order of the text.
    """

    claims: tuple[Claim, ...]
    asides: tuple[Aside, ...] = ()


@dataclass(frozen=True, slots=True)
class Verification:
    """What evidence says about one claim.

    Attributes:
        support: Whether a passage supports the claim or contradicts it.
        method: How that was decided, in one line.
        evidence: The passages that settle the claim, the deciding one first.
        p_supported: The method's own number in [0, 1] where it has one; it is not calibrated.
    """

    support: Support
    method: str
    evidence: tuple[Evidence, ...] = ()
    p_supported: float | None = None


@dataclass(frozen=True, slots=True)
class ClaimDecision:
    """What a policy says to do with one claim.

    Attributes:
        action: Keep, hedge, drop, or look up and decide again.
        rule: Name of the rule that matched.
        explanation: Why it matched, with the numbers, in one line.
        template: The policy's wording, in which `{answer}` is the claim; None for the default wording.
    """

    action: ClaimAction
    rule: str
    explanation: str
    template: str | None = None


@dataclass(frozen=True, slots=True)
class JudgedClaim:
    """One claim at the end of the flow.

    Attributes:
        claim: The claim and its place.
        token_start: First of its tokens, `response_ids[token_start:token_end]`.
        token_end: The token after its last.
        score: How uncertain the model was of it; higher is more uncertain.
        confidence: The calibrated probability that it is right.
        decision: What the policy says to do with it.
        verification: What evidence says about it; None where none was asked for.
        shown: What stands for it in the verdict's text; empty where it was dropped.
    """

    claim: Claim
    token_start: int
    token_end: int
    score: Score
    confidence: Confidence
    decision: ClaimDecision
    verification: Verification | None = None
    shown: str = ""

    def __post_init__(self) -> None:
        """Raises `ScoringError` for a confidence that was not computed."""
        check_computed(self.score, self.confidence)

    @property
    def text(self) -> str:
        """The claim as a statement."""
        return self.claim.text

    @property
    def action(self) -> ClaimAction:
        """What the policy decided."""
        return self.decision.action

    @property
    def label(self) -> Label | None:
        """The confidence's label; None where there is no confidence."""
        return self.confidence.label

    @property
    def evidence(self) -> tuple[Evidence, ...]:
        """The passages that settle it; none where nothing was looked up or found."""
        return self.verification.evidence if self.verification else ()

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready, as `guardrail ask --json` prints it; `path` appears only for a field."""
        claim = asdict(self.claim)
        if self.claim.path is None:
            del claim["path"]
        return {
            **claim,
            "token_start": self.token_start,
            "token_end": self.token_end,
            "score": self.score.to_dict(),
            **self.confidence.to_dict(),
            "action": self.decision.action,
            "rule": self.decision.rule,
            "explanation": self.decision.explanation,
            "support": self.verification.support if self.verification else None,
            "evidence": [asdict(e) for e in self.evidence],
            "shown": self.shown,
        }
