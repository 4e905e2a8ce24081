"""Claims -> text on a terminal, and a page in a file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from guardrail.claims.segments import segments
from guardrail.claims.shown import interval, least_certain, probability, remarks, shown_label, support
from guardrail.cli import render
from guardrail.errors import DataError
from guardrail.files import check_page, whole_file
from guardrail.types import LABELS, JudgedClaim, Label, Verdict

COLOURS: dict[Label | None, str] = {
    "very low": "color(208)",
    "low": "color(223)",
    "medium": "color(228)",
    "high": "color(153)",
    "very high": "color(75)",
    None: "color(250)",
}
"""Backgrounds, numbers of the 256-colour palette above its first 16, so that no theme changes them: the same on a dark and
a light terminal, and told apart by colour-blind readers. None is a claim without a confidence."""

INK = "color(16)"
"""The text on them: the palette's own black, since a terminal's theme may make another of its colour "black"."""

_TABLE_FROM, _EVIDENCE_FROM = 76, 100
"""Columns of terminal from which claims fit into a table, without and with what evidence says; else they are a list."""

_INDENT = "   "


def show(console: Console, verdict: Verdict) -> None:
    """What the user is shown, then what the model said claim by claim, a table of the claims, and why.

    Each claim is followed by its number; without colours also by its label and confidence.
    """
    console.print(Text(render.printable(verdict.text).rstrip()))
    console.print()
    if verdict.claims:
        console.print("[bold]What the model said, claim by claim[/]")
        console.print(annotated(verdict, colour=coloured(console)))
        console.print()
        console.print(legend(verdict, colour=coloured(console)))
        console.print()
        looked_up = any(claim.verification for claim in verdict.claims)
        if console.width >= (_EVIDENCE_FROM if looked_up else _TABLE_FROM):
            console.print(table(verdict.claims))
        else:
            console.print(stacked(console, verdict.claims))
    else:
        console.print("No claims: the answer was not taken apart, or holds nothing that can be checked.")
    for line in notes(verdict):
        console.print(line)
    console.print()
    render.reasons(console, verdict, answer=not verdict.claims)


def coloured(console: Console) -> bool:
    """Whether colours reach the reader: a terminal with 256 of them, and no NO_COLOR."""
    return not console.no_color and console.color_system in ("256", "truecolor")


def annotated(verdict: Verdict, *, colour: bool) -> Text:
    """The model's answer with a marker after each claim: `[2]` on the label's colour, else `[2 low 0.31]`; `[–]` after
    what is not checked. A dropped claim is struck through and its marker says so. Words that several claims share have
    the colour of the least certain one."""
    text = Text()
    for segment in segments(verdict.answer, verdict.claims, verdict.asides):
        inside = [verdict.claims[i] for i in segment.claims]
        words = render.printable(verdict.answer[segment.start : segment.end])
        if inside:
            strike = " strike" if any(claim.action == "drop" for claim in inside) else ""
            text.append(words, style=_style(least_certain(inside)) + strike if colour else "")
        else:
            text.append(words, style="dim" if segment.aside else "")
        for i in segment.ends:
            text.append(" " + _marker(i + 1, verdict.claims[i], colour))
        if segment.aside and not colour:
            text.append(" [–]")
    text.rstrip()
    return text


def legend(verdict: Verdict, *, colour: bool) -> Text:
    """What colours and markers mean; only what this answer has."""
    present = {shown_label(claim.confidence) for claim in verdict.claims}
    parts: list[Text] = []
    if colour:
        labels: list[Label | None] = [*LABELS, None]
        parts += [Text(f" {label or 'unknown'} ", style=_style(label)) for label in labels if label in present]
        parts += [Text("not checked", style="dim")] if _any_placed_aside(verdict) else []
        if any(len(segment.claims) > 1 for segment in segments(verdict.answer, verdict.claims, verdict.asides)):
            parts.append(Text("shared words: as the least certain claim"))
    else:
        parts.append(Text("[number label confidence] follows each claim"))
        parts += [Text("[–] not checked")] if _any_placed_aside(verdict) else []
    return Text("  ").join(parts)


def table(claims: Sequence[JudgedClaim]) -> Table:
    """One row a claim: number, action, confidence with its interval, label, what it says, and what evidence says."""
    looked_up = any(claim.verification for claim in claims)
    found = Table()
    found.add_column("#", justify="right", no_wrap=True)
    for heading in ("action", "confidence", "label"):
        found.add_column(heading, no_wrap=True)
    found.add_column("claim", ratio=3)
    if looked_up:
        found.add_column("evidence", ratio=2)
    for number, claim in enumerate(claims, start=1):
        cells = [
            str(number),
            claim.action,
            _sure(claim),
            shown_label(claim.confidence) or "unknown",
            _short(claim.text),
        ]
        if looked_up:
            cells.append(_support(claim) or "not looked up")
        found.add_row(*map(Text, cells))
    return found


def stacked(console: Console, claims: Sequence[JudgedClaim]) -> Text:
    """The table's cells as a list, for narrow terminals."""
    width = 10_000 if console.soft_wrap else console.width - len(_INDENT)
    lines = []
    for number, claim in enumerate(claims, start=1):
        label = shown_label(claim.confidence) or "unknown"
        lines.append(Text(f"{number}. {claim.action}, {label} {_sure(claim)}"))
        for cell in filter(None, [_short(claim.text), _support(claim)]):
            lines += [Text(_INDENT) + line for line in Text(cell).wrap(console, width)]
    return Text("\n").join(lines)


def notes(verdict: Verdict) -> list[Text]:
    """What to know about the numbers, each remark once, and the claims whose place was not found."""
    by_remark: dict[str, list[int]] = {}
    for number, claim in enumerate(verdict.claims, start=1):
        for remark in remarks(claim.confidence):
            by_remark.setdefault(remark, []).append(number)
    lines = [
        Text(render.printable(f"{'claim' if len(numbers) == 1 else 'claims'} {_ranges(numbers)}: {remark}"))
        for remark, numbers in by_remark.items()
    ]
    unplaced = [aside for aside in verdict.asides if aside.start is None]
    return lines + [Text(f"not checked, its place in the answer was not found: {_short(a.text)}") for a in unplaced]


def write_page(path: Path, verdict: Verdict, *, question: str) -> None:
    """The page of `guardrail.html.claims_page` in a file, which is replaced if it is there. Raises `DataError`."""
    from guardrail.html import claims_page

    check_page(path)
    text = claims_page(verdict, question=question)
    try:
        with whole_file(path) as file:
            file.write(text.encode("utf-8", "replace"))
    except OSError as error:
        raise DataError(f"cannot write {str(path)!r}: {error.strerror or error}") from error


def _style(label: Label | None) -> str:
    return f"{INK} on {COLOURS[label]}"


def _marker(number: int, claim: JudgedClaim, colour: bool) -> str:
    """`[2 low 0.31]`, or `[2]`; with what became of the claim where it is not simply kept."""
    p = probability(claim.confidence)
    label = shown_label(claim.confidence) or "unknown"
    known = "" if colour else f" {label}" + ("" if p == "none" else f" {p}")
    done = "" if claim.action == "keep" else f" {claim.action}"
    return f"[{number}{known}{done}]"


def _sure(claim: JudgedClaim) -> str:
    within = interval(claim.confidence)
    return probability(claim.confidence) + (f" ({within})" if within else "")


def _support(claim: JudgedClaim) -> str:
    return render.printable(render.shorten(support(claim.verification), 80))


def _short(text: str) -> str:
    return render.printable(render.shorten(text, 100))


def _ranges(numbers: Sequence[int]) -> str:
    """`1 to 3, 7`."""
    runs: list[list[int]] = []
    for n in numbers:
        if runs and runs[-1][-1] == n - 1:
            runs[-1].append(n)
        else:
            runs.append([n])
    return ", ".join(f"{run[0]} to {run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)


def _any_placed_aside(verdict: Verdict) -> bool:
    return any(aside.start is not None for aside in verdict.asides)
