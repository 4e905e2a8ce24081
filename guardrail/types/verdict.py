"""The end of the flow: every pass, and what the user is shown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from math import fsum
from string import Formatter
from typing import Any

from guardrail.errors import ScoringError
from guardrail.types.claims import Aside, JudgedClaim
from guardrail.types.judgement import Confidence, Decision, Evidence, Score, check_computed
from guardrail.types.names import DEFAULT_ASK_BACK, WITHHELD, Action, FinishReason, Label
from guardrail.types.trace import Trace


@dataclass(frozen=True, slots=True)
class InOrders:
    """One answer with the same passages in several orders: how far the order moves the confidence.

    Attributes:
        confidences: The calibrated probability in each order, in [0, 1], first the one that the prompt had; None where there is
            none.
    """

    confidences: tuple[float | None, ...]

    @property
    def known(self) -> tuple[float, ...]:
        """The confidences where each order has one; nothing as soon as one has none."""
        found = tuple(p for p in self.confidences if p is not None and 0.0 <= p <= 1.0)
        return found if len(found) == len(self.confidences) else ()

    @property
    def mean(self) -> float | None:
        """The mean over the orders, in [0, 1]; None where an order has no confidence."""
        return fsum(self.known) / len(self.known) if self.known else None

    @property
    def spread(self) -> float | None:
        """The highest less the lowest, in [0, 1]; None where an order has no confidence."""
        return max(self.known) - min(self.known) if self.known else None

    def to_dict(self) -> dict[str, Any]:
        return {"confidences": list(self.confidences), "mean": self.mean, "spread": self.spread}


@dataclass(frozen=True, slots=True)
class Consistency:
    """How many samples of an answer's prompt say what the answer says.

    Attributes:
        samples: How many were drawn.
        agreeing: How many of them agree; None where that could not be measured.
        reason: Why it could not; else empty.
    """

    samples: int
    agreeing: int | None
    reason: str = ""

    @property
    def share(self) -> float | None:
        """Of the samples, in [0, 1]; None where it could not be measured."""
        return None if self.agreeing is None else self.agreeing / self.samples

    def to_dict(self) -> dict[str, Any]:
        return {"samples": self.samples, "share": self.share, **({"reason": self.reason} if self.reason else {})}


@dataclass(frozen=True, slots=True)
class Attempt:
    """One pass through the pipeline.

    A verdict has one, or more where evidence, another beginning or a second model came in between.

    Attributes:
        answer: What the model said, unchanged.
        score: How uncertain the model was of it; higher = more uncertain.
        confidence: The calibrated probability that it is right.
        decision: What the policy says to do with it.
        finish_reason: Why the answer ends where it does.
        evidence: The passages that stood in the prompt.
        trace: What was read and written, without the states that scoring used; no part of `to_dict`.
        orders: The confidence with the passages in other orders, where the policy's `orders` asks; None elsewhere.
        prefix: How the reply was made to begin by a `retry` rule; empty elsewhere.
        consistency: How many samples agree with the answer, where the policy's decision hangs on that; None elsewhere.
    """

    answer: str
    score: Score
    confidence: Confidence
    decision: Decision
    finish_reason: FinishReason
    evidence: tuple[Evidence, ...] = ()
    trace: Trace | None = field(default=None, repr=False, compare=False)
    orders: InOrders | None = None
    prefix: str = ""
    consistency: Consistency | None = None

    def __post_init__(self) -> None:
        """Raises `ScoringError` for a confidence that was not computed, or not of this text."""
        check_computed(self.score, self.confidence)
        if self.confidence.p_correct is not None and self.trace is not None and self.trace.text != self.answer:
            raise ScoringError("the answer is not the text that was scored, so it has no confidence")

    def to_dict(self) -> dict[str, Any]:
        return {
            "answer": self.answer,
            "action": self.decision.action,
            "rule": self.decision.rule,
            "explanation": self.decision.explanation,
            **self.confidence.to_dict(),
            "score": self.score.to_dict(),
            "finish_reason": self.finish_reason,
            "evidence": [asdict(e) for e in self.evidence],
            **({"orders": self.orders.to_dict()} if self.orders else {}),
            **({"consistency": self.consistency.to_dict()} if self.consistency else {}),
            **({"prefix": self.prefix} if self.prefix else {}),
        }


def _worded(text: str, decision: Decision) -> bool:
    """Whether the text may be the wording that stands in place of an answer; a model may have said the same words."""
    if decision.template is None:
        return (decision.explanation if decision.action == "abstain" else DEFAULT_ASK_BACK) in text
    return all(literal.strip() in text for literal, *_ in Formatter().parse(decision.template))


@dataclass(frozen=True, slots=True)
class AskedFirst:
    """What was known of a question before anything was generated.

    Attributes:
        confidence: P(IK), the calibrated probability that the model would answer it rightly.
        searched: Whether passages were searched for.
        explanation: Why, or why not.
    """

    confidence: Confidence
    searched: bool
    explanation: str

    def to_dict(self) -> dict[str, Any]:
        return {"searched": self.searched, "explanation": self.explanation, **self.confidence.to_dict()}


@dataclass(frozen=True, slots=True)
class Spent:
    """What one of two models did for a verdict, and what that cost.

    Attributes:
        model: Its name.
        calibrator: Name of the calibrator whose confidences its answers have; None where there is none.
        passes: How many of the verdict's attempts are its own.
        score: The number of its last answer; higher = more uncertain, on the scale of its own scorer. None: unscored.
        confidence: The calibrated probability that its last answer is right; None where there is none.
        timing_ms: Wall time by stage, in milliseconds, summed over its passes.
        read: Tokens of its prompts.
        written: Tokens that it generated, those of its thinking included.
    """

    model: str
    calibrator: str | None
    passes: int
    score: float | None
    confidence: float | None
    timing_ms: Mapping[str, float]
    read: int
    written: int

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "timing_ms": {k: round(v, 3) for k, v in self.timing_ms.items()}}


@dataclass(frozen=True, slots=True)
class Escalation:
    """That a second model spoke: the verdict's text, model and calibrator are the second's; its attempts stand behind the
    first's.

    Attributes:
        first: The model whose answer a rule did not trust.
        second: The model that spoke.
    """

    first: Spent
    second: Spent

    def to_dict(self) -> dict[str, Any]:
        return {"first": self.first.to_dict(), "second": self.second.to_dict()}


@dataclass(frozen=True, slots=True)
class Verdict:
    """The end of the flow: what the user is shown, what the model said, and why.

    Attributes:
        text: What the user is shown.
        attempts: Every pass, oldest first; the properties read the last one.
        timing_ms: Wall time by stage, in milliseconds, summed over the passes.
        model: Name of the model that answered.
        calibrator: Name of the calibrator whose confidences the answers have; None where there is none.
        policy: Name of the policy that decided.
        claims: The claims of the last pass's answer; empty where claims were not asked for.
        asides: Its parts that are not checked, each with the reason.
        claim_calibrator: Name of the calibrator whose confidences the claims have; None where there is none.
        asked_first: What was known before anything was generated, where the policy has `ask_first`; None elsewhere.
        escalation: Which models answered and what each cost, where a second one spoke; None elsewhere.
    """

    text: str
    attempts: tuple[Attempt, ...]
    timing_ms: Mapping[str, float]
    model: str
    calibrator: str | None
    policy: str
    claims: tuple[JudgedClaim, ...] = ()
    asides: tuple[Aside, ...] = ()
    claim_calibrator: str | None = None
    asked_first: AskedFirst | None = None
    escalation: Escalation | None = None

    def __post_init__(self) -> None:
        """Raises `ScoringError` for parts that contradict each other: such a verdict would show what nobody decided to show."""
        if not self.attempts:
            raise ScoringError("a verdict without an attempt has decided nothing; give one for each pass")
        if self.action in ("escalate", "retry"):
            raise ScoringError(f"the last decision is {self.action}, which shows nothing; ask again, or abstain")
        if self.action not in WITHHELD:
            return
        if shown := next((claim.shown for claim in self.claims if claim.shown), None):
            raise ScoringError(
                f"the decision is {self.action}, and a claim is shown ({shown!r:.60}); leave its `shown` empty"
            )
        if self.text.strip() and self.text.strip() == self.answer.strip() and not _worded(self.text, self.decision):
            raise ScoringError(
                f"the decision is {self.action}, and the text is the answer; show the policy's wording in its place"
            )

    @property
    def answer(self) -> str:
        """What the model said in the last pass, unchanged."""
        return self.attempts[-1].answer

    @property
    def original(self) -> str:
        """What the model said first, before any evidence and any other beginning."""
        return self.attempts[0].answer

    @property
    def action(self) -> Action:
        return self.attempts[-1].decision.action

    @property
    def actions(self) -> tuple[Action, ...]:
        """The action of every pass, e.g. `("retrieve", "answer")`."""
        return tuple(a.decision.action for a in self.attempts)

    @property
    def decision(self) -> Decision:
        return self.attempts[-1].decision

    @property
    def rule(self) -> str:
        return self.decision.rule

    @property
    def explanation(self) -> str:
        return self.decision.explanation

    @property
    def score(self) -> Score:
        return self.attempts[-1].score

    @property
    def confidence(self) -> Confidence:
        return self.attempts[-1].confidence

    @property
    def label(self) -> Label | None:
        return self.confidence.label

    @property
    def evidence(self) -> tuple[Evidence, ...]:
        return self.attempts[-1].evidence

    def to_dict(self) -> dict[str, Any]:
        """The JSON object of `guardrail ask --json`."""
        return {
            "text": self.text,
            **self.attempts[-1].to_dict(),
            "original": self.original,
            "actions": list(self.actions),
            "attempts": [a.to_dict() for a in self.attempts],
            "claims": [c.to_dict() for c in self.claims],
            "asides": [asdict(a) for a in self.asides],
            "timing_ms": {k: round(v, 3) for k, v in self.timing_ms.items()},
            "model": self.model,
            "calibrator": self.calibrator,
            "claim_calibrator": self.claim_calibrator,
            "policy": self.policy,
            **({"asked_first": self.asked_first.to_dict()} if self.asked_first else {}),
            **({"escalation": self.escalation.to_dict()} if self.escalation else {}),
        }
