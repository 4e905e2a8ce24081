"""The frame of a chart: where the data lie, grid lines, ticks, axis titles, a key."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from guardrail.html.charts.scale import Scale
from guardrail.html.charts.svg import Element, line, mark, rect, words
from guardrail.html.charts.ticks import tick_labels

WIDTH = 380.0
"""Of every chart, in drawing units, at a text size of 12: it still reads at 320 pixels, and is not coarse at 520."""

LEFT, RIGHT = 46.0, 368.0
"""Where the data lie across; to the left of it stand the labels of the y-axis."""


@dataclass(frozen=True, slots=True)
class Key:
    """One entry of a key: its shape (of `svg.mark`, or "line", "dashed", "full", "hatched"), its class and its name."""

    shape: str
    look: str
    name: str
    fill: str = ""


def x_axis(scale: Scale, bottom: float, title: str, *, top: float, unit: str = "", most: int = 6) -> list[Element]:
    """Grid lines from `top` to `bottom`, labels below, the title under them, over the middle: 34 units in all."""
    ticks = scale.ticks(most)
    out = [line("grid", scale(t), top, scale(t), bottom) for t in ticks]
    out.append(line("axis", min(scale.start, scale.stop), bottom, max(scale.start, scale.stop), bottom))
    for t, text in zip(ticks, tick_labels(ticks, unit), strict=True):
        x = scale(t)
        half = 3.2 * len(text)  # about half of its width; kept inside the drawing
        out.append(words("tick", min(max(x, half), WIDTH - half), bottom + 14, text, "middle"))
    half = 3.8 * len(title)  # of a wide font, such as DejaVu Sans
    middle = min(max((scale.start + scale.stop) / 2, half), WIDTH - half)
    return [*out, words("axis-title", middle, bottom + 30, title, "middle")]


def y_axis(scale: Scale, left: float, right: float, title: str, *, unit: str = "") -> list[Element]:
    """Grid lines from `left` to `right`, labels to the left; the title stands level, above the axis: nobody tilts the head."""
    ticks = scale.ticks()
    out = [line("grid", left, scale(t), right, scale(t)) for t in ticks]
    out.append(line("axis", left, scale.start, left, scale.stop))
    for t, text in zip(ticks, tick_labels(ticks, unit), strict=True):
        out.append(words("tick", left - 5, scale(t) + 4, text, "end"))
    return [*out, words("axis-title", 0, min(scale.start, scale.stop) - 10, title)]


def key(entries: Sequence[Key], y: float) -> list[Element]:
    """What the marks mean, a line each, from the top."""
    out: list[Element] = []
    for row, entry in enumerate(entries):
        at = y + 15 * row
        if entry.shape in ("line", "dashed"):
            out.append(line(entry.look, 0, at - 4, 18, at - 4))
        elif entry.shape in ("full", "hatched"):
            more = {"fill": entry.fill} if entry.fill else {}
            out.append(rect(entry.look, 2, at - 9, 14, 9, **more))
        else:
            out.append(mark(entry.shape, entry.look, 9, at - 4))
        out.append(words("key", 24, at, entry.name))
    return out
