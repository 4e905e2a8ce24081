"""What `guardrail bench` found -> a terminal, or Markdown. Knows nothing about how it was measured."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from guardrail.cli.figures import estimate
from guardrail.cli.render import escape
from guardrail.evaluation.bench import REFERENCE, Bench, Row, Seconds, verdict

_HEADINGS = ("scorer", "AUROC", "AURC", "PRR", f"AUROC minus {REFERENCE}'s", "added s", "MB")


def show(console: Console, found: Bench) -> None:
    """The best one first."""
    console.print(_about(found))
    table = Table(title="Scorers, highest AUROC first; 95 % intervals, of seconds quartiles", title_justify="left")
    for heading in _HEADINGS:
        table.add_column(heading, justify="left" if heading == "scorer" else "right")
    for row in _ranked(found):
        table.add_row(escape(row.name), *_cells(row))
    console.print(table)
    for sentence in verdict(found):
        console.print(escape(sentence))


def markdown(found: Bench, command: str) -> str:
    """The same, as a page."""
    rows = ["| " + " | ".join(_HEADINGS) + " |", "|" + " --- |" * len(_HEADINGS)]
    rows += ["| " + " | ".join([_name(row), *_cells(row)]) + " |" for row in _ranked(found)]
    return "\n".join([f"    {command}", "", _about(found), "", *rows, "", *verdict(found), ""])


def _about(found: Bench) -> str:
    left = found.asked - found.n
    out = f" ({left} left out, which some scorer has no score of{_who(found)})" if left else ""
    took = f"generation takes {_seconds(found.generation)} s an answer"
    return f"{found.n} answers{out}, accuracy {estimate(found.accuracy)}; {took}."


def _who(found: Bench) -> str:
    return ": " + ", ".join(f"{row.name} {row.unscored}" for row in found.rows if row.unscored)


def _ranked(found: Bench) -> list[Row]:
    return sorted(found.rows, key=lambda row: -row.auroc.value)


def _name(row: Row) -> str:
    return f"**{row.name}**" if row.name == REFERENCE else row.name


def _cells(row: Row) -> list[str]:
    d = row.difference
    return [
        *(estimate(e) for e in (row.auroc, row.aurc, row.prr)),
        f"{d.value:+.3f} ({d.low:+.3f} to {d.high:+.3f})" if d else "",
        _seconds(row.seconds),
        "" if row.memory_mb is None else f"{row.memory_mb:.1f}",
    ]


def _seconds(s: Seconds) -> str:
    return f"{s.median:.3g} ({s.low:.3g} to {s.high:.3g})"
