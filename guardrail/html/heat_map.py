"""A matrix of numbers -> a table whose cells are coloured: what `heat_map.html` draws.

In a page's template, with "heat_map.css" among its styles:

    {% from "heat_map.html" import heat_map %}
    {{ heat_map(map) }}

A table and no picture: read aloud cell by cell, copied into a spreadsheet, legible without colour and on a phone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from guardrail.errors import DataError
from guardrail.html.palette import HEAT_STEPS


@dataclass(frozen=True, slots=True)
class Cell:
    """text: two digits, `.13`. exact: four. step: the CSS class, `heat-0` .. `heat-8`, `below-zero`, or `absent`."""

    text: str
    exact: str
    step: str


@dataclass(frozen=True, slots=True)
class HeatRow:
    """strong: set off from the others, as a mean is."""

    label: str
    cells: tuple[Cell, ...]
    strong: bool = False


@dataclass(frozen=True, slots=True)
class HeatMap:
    """rows: from top to bottom. columns: label and note of each. marked: the column to look at; None for none. corner:
    what rows and columns are."""

    name: str
    caption: str
    corner: str
    columns: tuple[tuple[str, str], ...]
    rows: tuple[HeatRow, ...]
    marked: int | None


def heat_map(
    values: Sequence[Sequence[float | None]],
    *,
    name: str,
    caption: str,
    corner: str,
    rows: Sequence[str],
    columns: Sequence[tuple[str, str]],
    strong: Sequence[int] = (),
    marked: int | None = None,
) -> HeatMap:
    """What the template draws. values: of shape (rows, columns); None is no number. name: the table's id, once a page.

    The largest value has the darkest colour, 0 the page's own; below zero all are alike. strong: indices of rows. Raises
    `DataError` for NaN, infinity, or a shape that does not fit the labels.
    """
    if len(values) != len(rows) or any(len(row) != len(columns) for row in values):
        raise DataError(f"a heat map of {len(rows)} x {len(columns)} labels got {[len(row) for row in values]} values")
    known = [value for row in values for value in row if value is not None]
    if not all(map(math.isfinite, known)):
        raise DataError("a heat map shows finite numbers only; leave out what is NaN or infinite (None)")
    top = max(known, default=0.0)
    drawn = tuple(
        HeatRow(label, tuple(_cell(value, top) for value in row), i in strong)
        for i, (label, row) in enumerate(zip(rows, values, strict=True))
    )
    return HeatMap(name, caption, corner, tuple(columns), drawn, marked)


def short(value: float) -> str:
    """Two digits without the zero before the point: `.13`, `-.02`, `1.00`; `.00` has no sign."""
    text = f"{value:.2f}"
    text = "0.00" if text == "-0.00" else text
    return text.replace("0.", ".", 1) if text.lstrip("-").startswith("0.") else text


def step(value: float, top: float) -> int:
    """0 .. `HEAT_STEPS` in proportion to value / top; -1 below zero, beyond rounding."""
    if value <= -0.005:
        return -1
    return min(HEAT_STEPS, max(0, round(HEAT_STEPS * value / top))) if top > 0 else 0


def _cell(value: float | None, top: float) -> Cell:
    if value is None:
        return Cell("", "none", "absent")
    at = step(value, top)
    return Cell(short(value), f"{value:.4f}", "below-zero" if at < 0 else f"heat-{at}")
