"""A matrix of numbers -> a coloured table on a terminal, readable without colour."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from guardrail.cli.claims import INK, coloured
from guardrail.html.heat_map import short, step
from guardrail.html.palette import HEAT_STEPS

_BLUES = (None, None, "color(195)", "color(195)", "color(153)", "color(153)", "color(117)", "color(75)", "color(75)")
"""Backgrounds of the steps 0 to 8, of the 256 colours but the first 16, which themes change. None: the terminal's own."""

_BELOW_ZERO = "color(223)"


def heat_map(
    console: Console,
    values: Sequence[Sequence[float]],
    *,
    rows: Sequence[str],
    columns: Sequence[str],
    corner: str,
    strong: Sequence[int] = (),
    marked: int | None = None,
) -> Table:
    """One cell a number, two digits each. strong: rows in bold. marked: the column with a `*` in its header."""
    top = max((max(row) for row in values), default=0.0)
    table = Table(box=None, padding=(0, 0), header_style="")
    table.add_column(corner, justify="right", no_wrap=True)
    for i, column in enumerate(columns):
        table.add_column(Text(f"{column}*" if i == marked else column, "bold" if i == marked else ""), justify="right")
    for i, (label, row) in enumerate(zip(rows, values, strict=True)):
        bold = "bold" if i in strong else ""
        cells = [Text(f" {short(value):>4} ", _style(step(value, top), coloured(console), bold)) for value in row]
        table.add_row(Text(f"{label} ", bold), *cells)
    return table


def _style(at: int, colour: bool, bold: str) -> str:
    back = _BELOW_ZERO if at < 0 else _BLUES[min(at, HEAT_STEPS)]
    return f"{bold} {INK} on {back}".strip() if colour and back else bold
