"""Values -> text on a terminal. Knows nothing about how they were made."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from guardrail.calibration.metrics import Estimate, ReliabilityBin
from guardrail.types import Attempt, Label, Verdict

_COLOURS: dict[Label | None, str] = {
    "very high": "green",
    "high": "green",
    "medium": "yellow",
    "low": "red",
    "very low": "red",
    None: "magenta",
}


def verdict(console: Console, value: Verdict) -> None:
    """What the user is shown, then why."""
    console.print(escape(value.text))
    console.print()
    console.print(f"  [bold]confidence[/]  {confidence(value.attempts[-1])}")
    console.print(f"  [bold]action[/]      {' → '.join(value.actions)} (policy {escape(value.policy)}, rule {escape(repr(value.rule))})")
    console.print(f"  [bold]why[/]         {escape(value.explanation)}")
    if value.text != value.answer:
        console.print(f"  [bold]answer[/]      {escape(value.answer) or '(empty)'}")
    if value.original != value.answer:
        console.print(f"  [bold]first said[/]  {escape(value.original) or '(empty)'}")
    for passage in value.evidence:
        console.print(f"  [bold]evidence[/]    {escape(passage.source)}: {escape(shorten(passage.text, 100))}")
    timing = ", ".join(f"{stage} {ms:.0f}" for stage, ms in value.timing_ms.items() if ms >= 0.5)
    console.print(f"  [dim]{escape(value.model)} · {escape(str(value.calibrator))} · ms: {timing}[/]")


def confidence(attempt: Attempt) -> str:
    """`0.83 (0.74 to 0.89), very high`, coloured by label; or why there is none."""
    c = attempt.confidence
    colour = _COLOURS[c.label]
    if c.p_correct is None or c.low is None or c.high is None:
        return f"[{colour}]none: {escape(c.reason)}[/]"
    outside = "" if c.in_range else " (score outside the calibrated range)"
    return f"[{colour}]{c.p_correct:.2f}[/] ({c.low:.2f} to {c.high:.2f}), [{colour}]{c.label}[/]{outside}"


def estimate(e: Estimate) -> str:
    """`0.752 (0.713 to 0.790)`."""
    return f"{e.value:.3f} ({e.low:.3f} to {e.high:.3f})"


def reliability(bins: Sequence[ReliabilityBin]) -> Table:
    """Said against seen: answers by the probability they were given."""
    table = Table(title="Reliability: what was said against what was right", title_justify="left")
    for heading in ("said", "mean said", "right", "95 % interval", "answers"):
        table.add_column(heading, justify="right")
    for b in bins:
        seen = b.accuracy
        table.add_row(
            f"{b.low:.1f} to {b.high:.1f}",
            f"{b.mean_p:.3f}",
            f"{seen.value:.3f}",
            f"{seen.low:.3f} to {seen.high:.3f}",
            str(seen.n),
        )
    return table


def shorten(text: str, length: int) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= length else flat[: length - 1] + "…"
