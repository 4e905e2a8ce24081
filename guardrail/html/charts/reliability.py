"""The reliability diagram: stated confidence against the share that was right, bin by bin, and how many answers a bin has."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from guardrail.calibration.metrics import ReliabilityBin
from guardrail.html.charts.plot import LEFT, RIGHT, WIDTH, Key, key, x_axis, y_axis
from guardrail.html.charts.scale import Scale
from guardrail.html.charts.svg import Element, drawing, element, hatching, line, mark, polyline, rect, words

_KEY, _HEIGHT, _STRIP, _GAP = 15.0, 250.0, 46.0, 26.0
_CAP = 3.0


def reliability_diagram(
    slug: str,
    title: str,
    description: str,
    calibrated: Sequence[ReliabilityBin],
    own: Sequence[ReliabilityBin] = (),
    *,
    unit: str = "answer",
) -> Markup:
    """Points (mean stated confidence, share that was right) with the interval of the share; on the diagonal both agree.

    own: the same for the model's own probability, as open diamonds. Below: answers in each bin, from the same left
    edge, full for the first and hatched for the second. unit: what is counted. title, description: for a screen reader; slug:
    unique on the page.
    """
    entries = [Key("circle", "dot s1", "calibrated confidence")]
    if own:
        entries.append(Key("diamond", "ring s2", "the model's own probability, not calibrated"))
    top = _KEY * len(entries) + 34
    bottom = top + _HEIGHT
    x, y = Scale(0, 1, LEFT, RIGHT), Scale(0, 1, bottom, top)
    strip_top, strip_bottom = bottom + _GAP, bottom + _GAP + _STRIP
    most = max(b.accuracy.n for b in (*calibrated, *own))
    counts = Scale(0, most, strip_bottom, strip_top)
    hatch = f"{slug}-hatch"
    marks: list[Element] = [
        hatching(hatch, "hatch s2"),
        *key(entries, 12),
        *y_axis(y, LEFT, RIGHT, f"share of {unit}s that were right, 95 % interval"),
        *(line("grid", x(t), top, x(t), bottom) for t in x.ticks()),
        polyline("reference", [(x(0), y(0)), (x(1), y(1))]),
        words("note", x(0.9), y(0.95), "stated = right", "end"),
        *_points(own, x, y, "diamond", "ring s2", "whisker s2 dashed"),
        *_points(calibrated, x, y, "circle", "dot s1", "whisker s1"),
        words("axis-title", 0, strip_top - 8, f"{unit}s in each bin (highest bar: {most})"),
        *_bars(calibrated, x, counts, "full s1", 0 if own else None),
        *_bars(own, x, counts, "hatched s2", 1, fill=f"url(#{hatch})"),
        *x_axis(x, strip_bottom, "stated probability of being right", top=strip_top),
    ]
    return drawing(slug, title, description, WIDTH, strip_bottom + 36, marks)


def _points(bins: Sequence[ReliabilityBin], x: Scale, y: Scale, shape: str, look: str, whisker: str) -> list[Element]:
    out: list[Element] = []
    for b in bins:
        at, low, high = x(b.mean_p), y(b.accuracy.low), y(b.accuracy.high)
        path = f"M{at:.2f},{low:.2f}V{high:.2f}M{at - _CAP:.2f},{low:.2f}h{2 * _CAP:g}M{at - _CAP:.2f},{high:.2f}h{2 * _CAP:g}"
        out += [element("path", whisker, d=path), mark(shape, look, at, y(b.accuracy.value))]
    return out


def _bars(
    bins: Sequence[ReliabilityBin], x: Scale, y: Scale, look: str, half: int | None, **more: str
) -> list[Element]:
    """half: 0, 1: the left or the right half of the bin; None: all of it."""
    out = []
    for b in bins:
        left, right = x(b.low) + 1.5, x(b.high) - 1.5
        middle = (left + right) / 2
        start, stop = (left, right) if half is None else ((left, middle), (middle, right))[half]
        top = min(y(b.accuracy.n), y.start - 0.75)  # one answer among thousands is still seen
        out.append(rect(look, start, top, stop - start, y.start - top, **more))
    return out
