"""Whether a rule's conditions hold for an answer or a claim, and the sentence that says so with the numbers.

Knows nothing about actions or the order of rules. Three-valued: a condition on confidence, label or range is *unknown*
when there is no probability (or it is NaN), `not` leaves unknown unknown, and a rule matches only what is true. So an
answer about which nothing is known can never slip through a negation.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Self

from guardrail.types import UNLIKE

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from guardrail.policy.bounds import Bounds
    from guardrail.policy.conditions import AnyWhen
    from guardrail.types import Confidence, Score

_WORDS = {"at_least": "at least", "above": "above", "at_most": "at most", "below": "below"}


@dataclass(frozen=True, slots=True)
class Finding:
    """One condition evaluated: True, False or None (unknown), and a phrase for what was found, not for what was wanted."""

    truth: bool | None
    phrase: str


@dataclass(frozen=True, slots=True)
class Facts(ABC):
    """What the conditions look at. `unit` is the word for it."""

    unit: ClassVar[str]
    confidence: Confidence
    score: Score

    @property
    def p_correct(self) -> float | None:
        """The probability, or None when there is none that can be trusted: no score, NaN, outside [0, 1]."""
        return None if self.score.unscored is not None else usable(self.confidence)

    def describe_confidence(self, bounds: Iterable[float] = ()) -> str:
        """`confidence 0.83 (very high)`, with more digits where a bound is as near as that."""
        if self.p_correct is None:
            reason = self.score.unscored or self.confidence.reason
            return f"confidence unknown ({_shorten(reason)})" if reason else "confidence unknown"
        label = f" ({self.confidence.label})" if self.confidence.label else ""
        return f"confidence {number(self.p_correct, bounds)}{label}"

    def within_range(self) -> Self | None:
        """The same with a score in the calibrated range; None where it lies there, or where nothing is known."""
        if self.p_correct is None or self.confidence.in_range:
            return None
        return replace(self, confidence=replace(self.confidence, in_range=True))

    @abstractmethod
    def evaluate_own(self, when: Any) -> Iterator[Finding]:
        """The conditions that only this kind of thing has."""

    @abstractmethod
    def describe(self) -> str:
        """Everything the conditions can see, for the sentence about no rule having matched."""


def usable(confidence: Confidence) -> float | None:
    """A probability in [0, 1]; None for everything else."""
    p = confidence.p_correct
    return p if p is not None and 0.0 <= p <= 1.0 else None


def evaluate(when: AnyWhen, facts: Facts) -> Finding:
    """All conditions of a mapping together; an empty mapping is true and has nothing to say."""
    return _all_of(list(_findings(when, facts)))


def number(value: float, bounds: Iterable[float] = ()) -> str:
    """Two digits, or as many as it takes to stand on the right side of every bound: 0.7996 is not shown as 0.80."""
    near = [bound for bound in bounds if bound != value]
    for digits in range(2, 17):
        shown = float(f"{value:.{digits}f}")
        if all((shown < bound) == (value < bound) and shown != bound for bound in near):
            return f"{value:.{digits}f}"
    return repr(value)


def _findings(when: AnyWhen, facts: Facts) -> Iterator[Finding]:
    p = facts.p_correct
    if when.confidence is not None:
        subject = facts.describe_confidence(b for _, b in given(when.confidence))
        yield compare(subject, p, when.confidence)
    if when.label is not None:
        label = facts.confidence.label if p is not None else None
        phrase = facts.describe_confidence() if label is None else f"confidence {number(p or 0.0)} is labelled {label}"
        yield Finding(None if label is None else label in when.label, phrase)
    if when.in_range is not None:
        side = "within" if facts.confidence.in_range else "outside"
        phrase = facts.describe_confidence() if p is None else f"the score lies {side} the calibrated range"
        yield Finding(None if p is None else facts.confidence.in_range == when.in_range, phrase)
    if when.familiar is not None:
        yield _evaluate_familiar(when.familiar, facts)
    if when.length is not None:
        yield compare(f"length {count(facts.score.length, 'token')}", facts.score.length, when.length)
    if when.unscored is not None:
        yield _evaluate_unscored(when.unscored, facts)
    yield from facts.evaluate_own(when)
    if when.any_of is not None:
        yield _any_of([evaluate(member, facts) for member in when.any_of])
    if when.not_ is not None:
        inner = evaluate(when.not_, facts)
        yield Finding(None if inner.truth is None else not inner.truth, inner.phrase)


def _evaluate_familiar(wanted: bool, facts: Facts) -> Finding:
    confidence = facts.confidence
    if facts.p_correct is None or confidence.familiar is None:
        return Finding(None, "it is not known whether the question is like those of the calibration")
    like = "like" if confidence.familiar else "unlike"
    return Finding(
        confidence.familiar == wanted,
        f"the question is {like} those of the calibration (p {number(confidence.familiarity or 0.0, [UNLIKE])})",
    )


def _evaluate_unscored(wanted: bool | tuple[str, ...], facts: Facts) -> Finding:
    score = facts.score
    if score.unscored is None:
        return Finding(wanted is False, f"the {facts.unit} has a score")
    detail = f": {_shorten(score.detail)}" if score.detail.strip() else ""
    truth = wanted if isinstance(wanted, bool) else score.unscored in wanted
    return Finding(truth, f"the {facts.unit} is unscored ({score.unscored}{detail})")


def compare(subject: str, value: float | None, bounds: Bounds) -> Finding:
    """A number against its bounds; unknown when there is none."""
    if value is None:
        return Finding(None, subject)
    holds = {"at_least": float.__ge__, "above": float.__gt__, "at_most": float.__le__, "below": float.__lt__}
    for key, bound in given(bounds):
        if not holds[key](float(value), float(bound)):
            return Finding(False, f"{subject} is not {_WORDS[key]} {spell_bound(bound)}")
    return Finding(True, f"{subject} is " + " and ".join(f"{_WORDS[key]} {spell_bound(b)}" for key, b in given(bounds)))


def given(bounds: Bounds) -> list[tuple[str, float]]:
    """The bounds that a file gives, in the order in which they are said."""
    return [(key, getattr(bounds, key)) for key in _WORDS if getattr(bounds, key) is not None]


def spell_bound(bound: float) -> str:
    """A threshold with all its own digits, at least two for a probability."""
    return str(bound) if isinstance(bound, int) else max(f"{bound:.2f}", repr(bound), key=len)


def _all_of(findings: list[Finding]) -> Finding:
    for truth in (False, None):  # one false settles it; otherwise one unknown does
        for finding in findings:
            if finding.truth is truth:
                return finding
    return Finding(True, " and ".join(f.phrase for f in findings if f.phrase))


def _any_of(findings: list[Finding]) -> Finding:
    for truth in (True, None):
        for finding in findings:
            if finding.truth is truth:
                return finding
    return Finding(False, " and ".join(f.phrase for f in findings if f.phrase))


def count(n: int, noun: str) -> str:
    """`1 token`, `2 tokens`."""
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def _shorten(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 200 else line[:197] + "..."
