"""The risk-coverage curve: how much is wrong among what is answered, the more is answered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from guardrail.calibration.metrics import Estimate, Floats
from guardrail.html.charts.plot import LEFT, RIGHT, WIDTH, Key, key, x_axis, y_axis
from guardrail.html.charts.scale import Scale
from guardrail.html.charts.svg import Element, area, drawing, element, line, mark, polyline

_HEIGHT = 250.0
_SHAPES = ("square", "diamond", "triangle", "circle")
_CAP = 3.5


@dataclass(frozen=True, slots=True)
class Point:
    """What a policy does: coverage, share of all questions; error among them with its interval; promised: at most
    this, if so."""

    name: str
    coverage: float
    error: Estimate
    promised: float | None = None


def risk_coverage(
    slug: str,
    title: str,
    description: str,
    coverage: Floats,
    risk: Floats,
    low: Floats,
    high: Floats,
    *,
    right_share: float | None = None,
    unguarded: float | None = None,
    points: Sequence[Point] = (),
    wrong: str = "wrong among answered",
    share: str = "coverage: answered, of all questions",
) -> Markup:
    """A curve with its pointwise interval, an oracle's curve, the level of a random order, and policies as points on top.

    coverage: (m,), ascending; risk, low, high: (m,). right_share: of all questions: an oracle makes no error up to there.
    unguarded: error rate of all scored answers; without one of them, neither order is drawn. wrong, share: what the axes say.
    Of many points, those that the drawing's resolution tells apart are drawn.
    """
    orders = [] if right_share is None or unguarded is None else [
        Key("line", "reference", "random order"),
        Key("dashed", "reference dashed", "oracle: all right answers first"),
    ]  # fmt: skip
    entries = [
        Key("line", "curve s1", "by confidence, 95 % interval at each point"),
        *orders,
        *(entry for i, point in enumerate(points) for entry in _entries(point, _shape(i))),
    ]
    top = 15.0 * len(entries) + 34
    x, y = Scale(0, 1, LEFT, RIGHT), Scale(0, 1, top + _HEIGHT, top)
    kept = _resolved(coverage * (x.stop - x.start))
    at = [x(c) for c in coverage[kept].tolist()]
    last = float(coverage[-1])
    marks: list[Element] = [
        *key(entries, 12),
        *y_axis(y, LEFT, RIGHT, wrong, unit="%"),
        *x_axis(x, top + _HEIGHT, share, top=top, unit="%"),
        area("band s1", _places(at, high[kept], y), _places(at, low[kept], y)),
        *([] if right_share is None or unguarded is None else _orders(right_share, unguarded, last, x, y)),
        polyline("curve s1", _places(at, risk[kept], y)),
    ]
    for i, point in enumerate(points):
        marks += _point(point, _shape(i), x, y, max(6.5 - 1.2 * i, 3.0))  # smaller on top: all seen where they coincide
    return drawing(slug, title, description, WIDTH, top + _HEIGHT + 36, marks)


def _orders(right_share: float, unguarded: float, last: float, x: Scale, y: Scale) -> list[Element]:
    """A random order, and an oracle, up to the coverage `last`."""
    beyond = [c for c in np.linspace(0, last, 200).tolist() if c > right_share]
    return [
        line("reference", x(0), y(unguarded), x(last), y(unguarded)),
        polyline(
            "reference dashed",
            [(x(0), y(0)), (x(min(right_share, last)), y(0)), *((x(c), y((c - right_share) / c)) for c in beyond)],
        ),
    ]


def _point(point: Point, shape: str, x: Scale, y: Scale, size: float) -> list[Element]:
    at, low, high = x(point.coverage), y(point.error.low), y(point.error.high)
    path = (
        f"M{at:.2f},{low:.2f}V{high:.2f}M{at - _CAP:.2f},{low:.2f}h{2 * _CAP:g}M{at - _CAP:.2f},{high:.2f}h{2 * _CAP:g}"
    )
    out = [element("path", "whisker s2", d=path), mark(shape, "dot s2", at, y(point.error.value), size)]
    if point.promised is not None:
        level = y(point.promised)
        out.append(line("promise s2", x.start, level, at, level))
    return out


def _entries(point: Point, shape: str) -> list[Key]:
    promised = [] if point.promised is None else [
        Key("line", "promise s2", f"promised there: at most {point.promised * 100:.4g} %")
    ]  # fmt: skip
    return [Key(shape, "dot s2", point.name), *promised]


def _shape(index: int) -> str:
    return _SHAPES[index % len(_SHAPES)]


def _places(at: Sequence[float], values: Floats, y: Scale) -> list[tuple[float, float]]:
    return [(a, y(v)) for a, v in zip(at, values.tolist(), strict=True)]


def _resolved(places: Floats) -> list[int]:
    """Indices of the places that are at least half a unit apart, and the last one."""
    kept: list[int] = []
    for i, place in enumerate(places.tolist()):
        if not kept or place - places[kept[-1]] >= 0.5:
            kept.append(i)
    if kept[-1] != len(places) - 1:
        kept.append(len(places) - 1)
    return kept
