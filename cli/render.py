"""Values -> text on a terminal."""

from __future__ import annotations

import re
from collections.abc import Sequence

import typer
from rich.console import Console
from rich.markup import escape as escape_markup
from rich.table import Table
from rich.text import Text

from guardrail.types import Attempt, Escalation, Label, Verdict
from guardrail.unseen import UNSEEN

_BACKSLASHES = re.compile(r"(\\{100})\\+")


def printable(text: str) -> str:
    """Text that cannot drive the terminal or read as other text: nothing that acts unseen."""
    return UNSEEN.sub("�", text.replace("\r\n", "\n"))


def echo(line: str, *, err: bool = False) -> None:
    """A `printable` line on stdout or stderr, for commands without tables. Results as JSON go through `dumps_for`."""
    typer.echo(printable(line), err=err)


def escape(text: str) -> str:
    """`printable` text that cannot style the terminal either: no markup.

    Of backslashes without end the first ones stand for all: rich looks for markup behind each of them anew.
    """
    return escape_markup(_BACKSLASHES.sub(r"\1…", printable(text)))


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
    console.print(Text(printable(value.text)))
    console.print()
    reasons(console, value)


def reasons(console: Console, value: Verdict, *, answer: bool = True) -> None:
    """Why the user is shown what they are; answer: with what the model said, where that is something else."""
    console.print(f"  [bold]confidence[/]  {confidence(value.attempts[-1])}")
    console.print(
        f"  [bold]action[/]      {' → '.join(value.actions)} (policy {escape(value.policy)}, rule {escape(repr(value.rule))})"
    )
    console.print(_named("why", value.explanation))
    if value.escalation is not None:
        console.print(_named("first asked", _of_first(value.escalation)))
    if value.asked_first is not None:
        console.print(_named("asked first", value.asked_first.explanation))
    if answer and value.text != value.answer:
        console.print(_named("answer", value.answer or "(empty)"))
    if value.original != value.answer:
        console.print(_named("first said", value.original or "(empty)"))
    for passage in value.evidence:
        console.print(_named("evidence", f"{passage.source}: {shorten(passage.text, 100)}"))
    if (orders := value.attempts[-1].orders) is not None and orders.mean is not None:
        told = (
            f"{orders.mean:.2f} in the mean of {len(orders.known)}, {min(orders.known):.2f} to {max(orders.known):.2f}"
        )
        console.print(_named("by order", told))
    timing = ", ".join(f"{stage} {ms:.0f}" for stage, ms in value.timing_ms.items() if ms >= 0.5)
    console.print(f"  [dim]{escape(value.model)} · {escape(str(value.calibrator))} · ms: {timing}[/]")


def _of_first(told: Escalation) -> str:
    """`small: 0.21; 31 tokens read, 9 written; then big: 120 read, 14 written`."""
    first, second = told.first, told.second
    p = "no confidence" if first.confidence is None else f"confidence {first.confidence:.2f}"
    return (
        f"{first.model} ({p}; {first.read} tokens read, {first.written} written); "
        f"then {second.model} ({second.read} read, {second.written} written)"
    )


def _named(name: str, text: str) -> Text:
    """Text of whatever length, which rich would search for markup in quadratic time."""
    return Text.assemble("  ", (name, "bold"), " " * (12 - len(name)), printable(text))


def confidence(attempt: Attempt) -> str:
    """`0.83 (0.74 to 0.89), very high`, coloured by label; or why there is none."""
    c = attempt.confidence
    colour = _COLOURS[c.label]
    if c.p_correct is None or c.low is None or c.high is None:
        return f"[{colour}]none: {escape(c.reason)}[/]"
    outside = "" if c.in_range else "; score outside the calibrated range"
    unlike = f"; extrapolated: {escape(c.reason)}" if c.basis == "extrapolated" else ""
    return f"[{colour}]{c.p_correct:.2f}[/] ({c.low:.2f} to {c.high:.2f}), [{colour}]{c.label}[/]{outside}{unlike}"


def demo(console: Console, verdicts: Sequence[tuple[str, Verdict]], seconds: float) -> None:
    """The demo's table, what retrieval changed, and what scoring cost."""
    table = Table(show_lines=True, expand=True)
    for heading, share in (("question", 4), ("the model said", 5), ("confidence", 3), ("action", 3), ("rule", 3)):
        table.add_column(heading, ratio=share)  # the texts get the room, at 80 columns too
    for question, v in verdicts:
        a = v.attempts[-1].confidence
        sure = "none" if a.p_correct is None else f"{a.p_correct:.2f} {a.label}"
        said = v.original if v.original == v.answer else f"{v.original} → {v.answer}"
        table.add_row(
            escape(question),
            escape(shorten(said, 140)),
            f"[{_COLOURS[a.label]}]{sure}[/]",
            " → ".join(v.actions),
            escape(" → ".join(attempt.decision.rule for attempt in v.attempts)),
        )
    console.print(table)
    console.print("[bold]What a user is shown where the policy did not let the answer through as it was[/]")
    for question, v in verdicts:
        if v.action != "answer":
            console.print(Text(printable(f"{question}\n  {v.text}")))
    changed = [(q, v) for q, v in verdicts if v.evidence and v.original != v.answer]
    for question, v in changed[:2]:
        console.print(f"\n[bold]A passage changed an answer[/]: {escape(question)}")
        console.print(
            f"  before: {escape(shorten(v.original, 120))}\n  passage: {escape(shorten(v.evidence[0].text, 120))}"
        )
        console.print(f"  after:  {escape(shorten(v.answer, 120))}")
    generated, scored = (sum(v.timing_ms.get(stage, 0.0) for _, v in verdicts) for stage in ("generate", "score"))
    console.print(
        f"\n{len(verdicts)} questions; generating took {generated:.0f} ms, scoring {scored:.0f} ms "
        f"({scored / generated:.0%} of it). {seconds:.0f} s in all."
    )


def shorten(text: str, length: int) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= length else flat[: length - 1] + "…"
