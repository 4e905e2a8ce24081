"""An SPS profile -> a page: the token that it proposes, how sure that is, and the map. Knows nothing about how it was
measured."""

from __future__ import annotations

from datetime import UTC, datetime

from guardrail.calibration.record import MetricRecord
from guardrail.calibration.sps_profile import SpsProfile
from guardrail.html.heat_map import HeatMap, heat_map
from guardrail.html.page import page


def sps_page(found: SpsProfile, *, made: datetime | None = None) -> str:
    """One self-contained HTML page, UTF-8: it loads nothing, runs no JavaScript and prints. made: the date on it; None
    is now.

    Path("sps.html").write_text(sps_page(SpsProfile.load("profile.json")), encoding="utf-8")
    """
    best = found.offsets.index(found.token)
    return page(
        "sps.html",
        style=["heat_map.css", "sps.css"],
        found=found,
        upper=f"h({found.upper[0]}) to h({found.upper[1]})",
        best=found.tokens[best],
        sure=sentences(found),
        map=sps_map(found),
        tokens=[
            (
                offset,
                seen,
                f"{seen.share:.0%}",
                with_interval(mean, found.evidence.upper_mean[i] if found.evidence else None),
            )
            for i, (offset, seen, mean) in enumerate(zip(found.offsets, found.tokens, found.upper_mean, strict=True))
        ],
        made=(made or datetime.now(UTC)).strftime("%Y-%m-%d %H:%M %Z").strip(),
    )


def sps_map(found: SpsProfile, name: str = "sps-map") -> HeatMap:
    """The map with the mean over the upper half at the top, then the last layer, for any page."""
    layers = list(reversed(found.layers))
    return heat_map(
        [found.upper_mean, *(found.sps[layer] for layer in layers)],
        name=name,
        caption=(
            f"SPS of {found.data.questions} questions with {found.data.paraphrases} paraphrases: the last layer at the top, "
            "tokens counted from the prompt's end. The bluer, the more a state keeps of the question's meaning."
        ),
        corner="layer",
        rows=["mean", *(f"h({layer})" for layer in layers)],
        columns=[(str(o), seen.label) for o, seen in zip(found.offsets, found.tokens, strict=True)],
        strong=[0],
        marked=found.offsets.index(found.token),
    )


def sentences(found: SpsProfile) -> list[str]:
    """How sure the proposed token is, in plain words, for people."""
    evidence = found.evidence
    if evidence is None:
        return [f"{found.data.questions} questions are too few for intervals: take 10 or more, better 100."]
    rival, template = evidence.runner_up, evidence.template
    lead = rival.difference
    clear = "more than chance" if lead.low > 0 else "no more than chance would give"
    out = [
        f"The lead over the next one, {rival.token}, is {with_interval(lead.value, lead)}: {clear}.",
        f"Drawn again from these questions, {found.token} comes out first in {evidence.chosen_in:.0%} of the draws.",
    ]
    if template is None:
        return [*out, "It is the chat template's own token, the paper's rule."]
    return [
        *out,
        f"The lead over the chat template's token, {template.token}, the paper's rule, is "
        f"{with_interval(template.difference.value, template.difference)}.",
    ]


def with_interval(value: float, interval: MetricRecord | None) -> str:
    """`0.147 (0.131 to 0.162)`."""
    return f"{value:.3f}" if interval is None else f"{value:.3f} ({interval.low:.3f} to {interval.high:.3f})"
