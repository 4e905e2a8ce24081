"""A Verdict -> a page: what is shown, what the model said claim by claim, and why. Knows nothing about how it was
judged."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from guardrail.calibration.labels import label_bounds
from guardrail.claims.segments import segments
from guardrail.claims.shown import DONE, interval, least_certain, probability, remarks, shown_label, support
from guardrail.html.page import page, versions_here
from guardrail.html.palette import LOOKS, Look
from guardrail.types import Confidence, Evidence, FinishReason, JudgedClaim, Verdict

ENDED: dict[FinishReason, str] = {
    "stop": "by itself",
    "length": "cut off at the token limit",
    "given": "the text was given",
    "prompt_too_long": "nothing was generated: the prompt is too long",
}
"""Why the answer ends where it does."""


def claims_page(verdict: Verdict, *, question: str, made: datetime | None = None) -> str:
    """One self-contained HTML page, UTF-8: it loads nothing, runs without JavaScript and prints.

    made: the date on it, with a time zone; None is now. Without claims it says so and shows the whole answer. Raises
    `DataError` where a claim does not lie in the answer.

        Path("claims.html").write_text(claims_page(verdict, question="Tell me about Lyon."), encoding="utf-8")
    """
    rows = [_row(i, claim) for i, claim in enumerate(verdict.claims)]
    pieces = _pieces(verdict, rows)
    return page(
        "claims.html",
        style="claims.css",
        script="claims.js",
        question=question,
        verdict=verdict,
        whole=_sure(verdict.confidence),
        whole_look=LOOKS[shown_label(verdict.confidence)],
        whole_remarks=remarks(verdict.confidence),
        ended=ENDED[verdict.attempts[-1].finish_reason],
        pieces=pieces,
        shared=any(len(piece.rows) > 1 for piece in pieces),
        rows=rows,
        legend=_legend(),
        counts=_counts(verdict),
        provenance=_provenance(verdict, made or datetime.now(UTC)),
    )


@dataclass(frozen=True, slots=True)
class _Row:
    """One claim as the page names it."""

    number: int
    claim: JudgedClaim
    look: Look
    p: str
    sure: str
    done: str
    support: str
    evidence: tuple[Evidence, ...]
    remarks: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Piece:
    """A segment of the answer; ends: the claims that end here, whose markers stand here."""

    text: str
    look: Look
    rows: tuple[_Row, ...]
    ends: tuple[_Row, ...]
    dropped: bool
    hedged: bool
    aside: str


def _row(index: int, claim: JudgedClaim) -> _Row:
    return _Row(
        number=index + 1,
        claim=claim,
        look=LOOKS[shown_label(claim.confidence)],
        p=probability(claim.confidence),
        sure=_sure(claim.confidence),
        done=DONE[claim.action],
        support=support(claim.verification),
        evidence=claim.evidence,
        remarks=remarks(claim.confidence),
    )


def _pieces(verdict: Verdict, rows: Sequence[_Row]) -> list[_Piece]:
    found = []
    for segment in segments(verdict.answer, verdict.claims, verdict.asides):
        inside = tuple(rows[i] for i in segment.claims)
        actions = {row.claim.action for row in inside}
        found.append(
            _Piece(
                text=verdict.answer[segment.start : segment.end],
                look=LOOKS[least_certain([row.claim for row in inside])],
                rows=inside,
                ends=tuple(rows[i] for i in segment.ends),
                dropped="drop" in actions,  # the strictest action takes the characters that claims share
                hedged="hedge" in actions and "drop" not in actions,
                aside=segment.aside.reason if segment.aside else "",
            )
        )
    return found


def _sure(confidence: Confidence) -> str:
    within = interval(confidence)
    return probability(confidence) + (f" ({within})" if within else "")


def _legend() -> list[tuple[Look, str]]:
    """Every label with the probabilities it stands for."""
    bounds = {label: label_bounds(label) for label in LOOKS if label is not None}
    return [
        (look, f"{bounds[label][0]:.1f} to {bounds[label][1]:.1f}" if label else "no confidence")
        for label, look in LOOKS.items()
    ]


def _counts(verdict: Verdict) -> str:
    """`4 claims: 2 kept, 1 hedged, 1 dropped`, in the order of the actions."""
    n = len(verdict.claims)
    by_action = Counter(claim.action for claim in verdict.claims)
    parts = ", ".join(f"{by_action[action]} {DONE[action]}" for action in DONE if by_action[action])
    return f"{n} {'claim' if n == 1 else 'claims'}" + (f": {parts}" if parts else "")


def _provenance(verdict: Verdict, made: datetime) -> Mapping[str, str]:
    timing = ", ".join(f"{stage} {ms:.0f}" for stage, ms in verdict.timing_ms.items() if ms >= 0.5)
    return {
        "model": verdict.model,
        "calibrator": verdict.calibrator or "none",
        "policy": verdict.policy,
        "versions": versions_here(),
        "time taken, ms": timing or "not measured",
        "page made": made.strftime("%Y-%m-%d %H:%M %Z").strip(),
    }
