"""A judged claim in the words that a reader sees, the same on every surface."""

from __future__ import annotations

from collections.abc import Sequence

from guardrail.types import LABELS, ClaimAction, Confidence, JudgedClaim, Label, Verification

DONE: dict[ClaimAction, str] = {
    "keep": "kept",
    "hedge": "hedged",
    "drop": "dropped",
    "retrieve": "left to look up",
}
"""What became of a claim. A verdict's last decision is retrieve only where nothing could be retrieved."""


def shown_label(confidence: Confidence) -> Label | None:
    """The label that is shown; None, unknown, unless there is a probability. NaN is none."""
    p = confidence.p_correct
    return confidence.label if p is not None and 0.0 <= p <= 1.0 else None


def least_certain(claims: Sequence[JudgedClaim]) -> Label | None:
    """The label of characters that several claims share: unknown before very low, very low before low, and so on."""
    labels = [shown_label(claim.confidence) for claim in claims]
    return min((x for x in labels if x), key=LABELS.index) if labels and None not in labels else None


def probability(confidence: Confidence) -> str:
    """`0.31`, or `none`."""
    p = confidence.p_correct
    return f"{p:.2f}" if p is not None and 0.0 <= p <= 1.0 else "none"


def interval(confidence: Confidence) -> str:
    """`0.20 to 0.44`, the 95 % interval; empty where there is none."""
    low, high = confidence.low, confidence.high
    return "" if probability(confidence) == "none" or low is None or high is None else f"{low:.2f} to {high:.2f}"


def remarks(confidence: Confidence) -> tuple[str, ...]:
    """What to know about the number: why there is none, that it is extrapolated, that it was clipped."""
    if probability(confidence) == "none":
        return (f"no confidence: {confidence.reason or 'it is not a probability'}",)
    found = []
    if not confidence.in_range:
        found.append("score outside the calibrated range")
    if confidence.basis == "extrapolated":
        found.append(f"extrapolated: {confidence.reason}" if confidence.reason else "extrapolated")
    return tuple(found)


def support(verification: Verification | None) -> str:
    """`supported by atlas.txt`, `contradicted by a passage`, `not found`; empty where nothing was looked up."""
    if verification is None:
        return ""
    if verification.support == "not found" or not verification.evidence:
        return verification.support
    return f"{verification.support} by {verification.evidence[0].source or 'a passage'}"
