"""Estimates side by side: a dot and its interval in each row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from guardrail.html.charts.plot import RIGHT, WIDTH, x_axis
from guardrail.html.charts.scale import Scale, padded
from guardrail.html.charts.svg import Element, drawing, element, line, mark, words

_ROW, _NAMES, _LONGEST = 21.0, 128.0, 19
_CAP = 3.5


@dataclass(frozen=True, slots=True)
class Row:
    """One estimate: low <= value <= high. chief: drawn full, where the others are open."""

    name: str
    value: float
    low: float
    high: float
    chief: bool = False


def dot_whisker(
    slug: str,
    title: str,
    description: str,
    rows: Sequence[Row],
    axis: str,
    *,
    log: bool = False,
    reference: float | None = None,
    reference_name: str = "",
) -> Markup:
    """Rows from top to bottom. axis: its title, with the unit. reference: a level with a name of its own, kept in view.

    Names longer than 19 characters are cut; a page has them whole in the table beside it. Raises ValueError without
    rows, and on a log axis for what is not above 0.
    """
    if not rows:
        raise ValueError("a chart of estimates needs at least one")
    values = [v for row in rows for v in (row.low, row.high)] + ([] if reference is None else [reference])
    top = 8.0 if reference is None else 24.0
    bottom = top + _ROW * len(rows) + 6
    x = Scale(*padded(min(values), max(values), log=log), _NAMES, RIGHT - 4, log=log)
    marks: list[Element] = x_axis(x, bottom, axis, top=top, most=5)
    if reference is not None:
        at = x(reference)
        anchor = "middle" if _NAMES + 40 < at < RIGHT - 40 else "start" if at <= _NAMES + 40 else "end"
        marks += [line("reference", at, top - 6, at, bottom), words("note", at, top - 10, reference_name, anchor)]
    for i, row in enumerate(rows):
        y = top + _ROW * (i + 0.5) + 3
        low, high = x(row.low), x(row.high)
        look = "s1" if row.chief else "s2"
        path = f"M{low:.2f},{y:g}H{high:.2f}M{low:.2f},{y - _CAP:g}v{2 * _CAP:g}M{high:.2f},{y - _CAP:g}v{2 * _CAP:g}"
        marks += [
            words("label chief" if row.chief else "label", _NAMES - 8, y + 4, _cut(row.name), "end"),
            element("path", f"whisker {look}", d=path),
            mark("circle", f"{'dot' if row.chief else 'ring'} {look}", x(row.value), y),
        ]
    return drawing(slug, title, description, WIDTH, bottom + 36, marks)


def _cut(name: str) -> str:
    return name if len(name) <= _LONGEST else name[: _LONGEST - 1] + "…"
