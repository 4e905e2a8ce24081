"""What `guardrail bench` found -> a terminal."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from guardrail.cli.render import escape
from guardrail.evaluation.bench import Bench, verdict
from guardrail.evaluation.bench_text import (
    CASCADE_HEADINGS,
    about,
    about_cascade,
    cascade_rows,
    cascade_verdict,
    cells,
    controls,
    headings,
    ranked,
)
from guardrail.evaluation.cascade import Cascade


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
    if found.cascade is not None:
        _cascade(console, found.cascade)


def _cascade(console: Console, found: Cascade) -> None:
    console.print(escape(about_cascade(found)))
    table = Table(title="Accuracy by the share asked of the second model, least sure first", title_justify="left")
    for heading in CASCADE_HEADINGS:
        table.add_column(heading, justify="left" if heading == "order" else "right")
    for name, *told in cascade_rows(found):
        table.add_row(escape(name), *told)
    console.print(table)
    for sentence in cascade_verdict(found):
        console.print(escape(sentence))
