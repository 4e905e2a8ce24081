"""What is known of one answer, or of one claim, when a policy is asked; and the conditions that only one of them has."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from guardrail.policy.matching import Facts, Finding, compare, count, given, number, spell_bound, usable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from guardrail.policy.bounds import Bounds, ShareBounds
    from guardrail.policy.conditions import ClaimsCondition, ClaimWhen, When
    from guardrail.types import ClaimKind, Confidence, NameCounts, Score, Verification


@dataclass(frozen=True, slots=True)
class AnswerFacts(Facts):
    """A whole answer. passages: how many it was given with. claims: the confidence of each; None: not taken apart.

    ambiguous: whether its question is, and why; None where the policy says nothing about that. spread: of the confidence over
    orders of the passages; None: not measured. names: of the question, counted in a corpus; None where there is none.
    consistency: the share of samples that agree with the answer; None: not measured, which counts as none of them.
    """

    unit: ClassVar[str] = "answer"
    confidence: Confidence
    score: Score
    passages: int
    finish_reason: str
    claims: tuple[Confidence, ...] | None = None
    ambiguous: tuple[bool, str] | None = None
    spread: float | None = None
    names: NameCounts | None = None
    consistency: float | None = None

    def describe(self) -> str:
        evidence = count(self.passages, "passage") + " of evidence" if self.passages else "no evidence"
        length = count(self.score.length, "token")
        claims = "" if self.claims is None else f", {count(len(self.claims), 'claim')}"
        asked = "" if self.ambiguous is None else f", {self.ambiguous[1]}"
        return f"{self.describe_confidence()}, {length}, finish reason {self.finish_reason}, {evidence}{claims}{asked}"

    def evaluate_own(self, when: When) -> Iterator[Finding]:
        if when.evidence is not None:
            phrase = f"there {'is' if self.passages == 1 else 'are'} {count(self.passages, 'passage')} of evidence"
            yield Finding(
                (self.passages > 0) == (when.evidence == "present"), phrase if self.passages else "there is no evidence"
            )
        if when.finish_reason is not None:
            yield Finding(self.finish_reason in when.finish_reason, f"the finish reason is {self.finish_reason}")
        if when.claims is not None:
            yield from _evaluate_claims(when.claims, self.claims)
        if when.ambiguous is not None:
            found, phrase = self.ambiguous or (True, "whether the question is ambiguous is not known (no `ambiguity`)")
            yield Finding(found == when.ambiguous, phrase)
        if when.spread is not None:
            yield _evaluate_spread(when.spread, self.spread)
        if when.rare is not None:
            yield _evaluate_rare(when.rare, self.names)
        if when.never_together is not None:
            yield _evaluate_together(when.never_together, self.names)
        if when.consistency is not None:
            yield _evaluate_consistency(when.consistency, self.consistency)


@dataclass(frozen=True, slots=True)
class ClaimFacts(Facts):
    """One claim. verification: what evidence says; None: it was not looked up."""

    unit: ClassVar[str] = "claim"
    confidence: Confidence
    score: Score
    kind: ClaimKind
    verification: Verification | None = None

    def describe(self) -> str:
        support = self.verification.support if self.verification else "not looked up"
        length = count(self.score.length, "token")
        return f"{self.describe_confidence()}, {length}, kind {self.kind}, evidence: {support}"

    def evaluate_own(self, when: ClaimWhen) -> Iterator[Finding]:
        if when.support is not None:
            yield _evaluate_support(when.support, self.verification)
        if when.kind is not None:
            yield Finding(self.kind in when.kind, f"the claim is of kind {self.kind}")


def _evaluate_spread(bounds: Bounds, spread: float | None) -> Finding:
    if spread is None or not 0.0 <= spread <= 1.0:
        return Finding(None, "the answer was not judged in several orders of its passages")
    shown = number(spread, (b for _, b in given(bounds)))
    return compare(f"the order of the passages moves the confidence by {shown}, which", spread, bounds)


def _evaluate_consistency(bounds: Bounds, share: float | None) -> Finding:
    if share is None or not 0.0 <= share <= 1.0:
        return compare("the share of samples that agree with the answer, not known and taken as 0,", 0.0, bounds)
    shown = number(share, (b for _, b in given(bounds)))
    return compare(f"the share of samples that agree with the answer, {shown},", share, bounds)


def _evaluate_rare(bounds: Bounds, names: NameCounts | None) -> Finding:
    if names is None or names.rarest is None:
        return Finding(None, "no name of the question was counted in a corpus")
    name, n = names.rarest
    return compare(f"the number of passages of the corpus with {name!r}, {n},", n, bounds)


def _evaluate_together(wanted: bool, names: NameCounts | None) -> Finding:
    if names is None or names.never_together is None:
        return Finding(None, "no two names of the question were counted in a corpus")
    if not names.apart:
        return Finding(not wanted, "all names of the question stand together in passages of the corpus")
    first, second = names.apart[0]
    return Finding(wanted, f"no passage of the corpus has both {first!r} and {second!r}")


def _evaluate_support(wanted: tuple[str, ...], verification: Verification | None) -> Finding:
    if verification is None:
        return Finding(None, "the claim was not looked up")
    found = verification.support
    says = "nothing found settles the claim" if found == "not found" else f"the claim is {found} by evidence"
    return Finding(found in wanted, says)


def _evaluate_claims(when: ClaimsCondition, claims: tuple[Confidence, ...] | None) -> Iterator[Finding]:
    if claims is None:
        yield Finding(None, "the answer was not taken apart into claims")
        return
    known = [p for p in map(usable, claims) if p is not None]
    if when.count is not None:
        yield compare(f"the number of claims, {len(claims)},", len(claims), when.count)
    for bounds, name, value in (
        (when.weakest, "weakest confidence", min(known, default=None)),
        (when.mean, "mean confidence", math.fsum(known) / len(known) if known else None),
    ):
        if bounds is not None:
            yield _evaluate_one_number(name, value, bounds, missing=len(claims) - len(known), total=len(claims))
    if when.share is not None:
        yield _evaluate_share(when.share, claims)


def _evaluate_one_number(name: str, value: float | None, bounds: Bounds, *, missing: int, total: int) -> Finding:
    if missing or value is None:
        why = f"{missing} of {total} have none" if missing else "there are none"
        return Finding(None, f"the {name} of the claims is unknown ({why})")
    return compare(
        f"the {name} of {count(total, 'claim')}, {number(value, (b for _, b in given(bounds)))},", value, bounds
    )


def _evaluate_share(bounds: ShareBounds, claims: tuple[Confidence, ...]) -> Finding:
    if not claims:
        return Finding(None, "there are no claims")
    confidences = [usable(c) for c in claims]
    below = sum(p is None or p < bounds.confidence_below for p in confidences)  # what is unknown is not good enough
    unknown = confidences.count(None)
    note = f" ({unknown} unknown)" if unknown else ""
    share = below / len(claims)
    shown = number(share, (b for _, b in given(bounds)))
    return compare(
        f"{below} of {count(len(claims), 'claim')}{note} below {spell_bound(bounds.confidence_below)}, a share of {shown},",
        share,
        bounds,
    )
