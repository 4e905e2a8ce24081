"""What `guardrail bench` found -> a terminal."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from guardrail.cli.render import escape
from guardrail.evaluation.bench import Bench, verdict
from guardrail.evaluation.bench_text import about, cells, controls, headings, ranked


def show(console: Console, found: Bench) -> None:
    """The best one first."""
    console.print(escape(about(found)))
    table = Table(title="Scorers, highest AUROC first; 95 % intervals, of seconds quartiles", title_justify="left")
    for heading in headings(found):
        table.add_column(heading, justify="left" if heading == "scorer" else "right")
    for row in ranked(found):
        table.add_row(escape(row.name), *cells(row))
    console.print(table)
    for sentence in [*verdict(found), *controls(found)]:
        console.print(escape(sentence))
