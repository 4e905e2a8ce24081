"""Scores of right answers against those of wrong ones, and above them what the calibrator makes of a score."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from guardrail.calibration.metrics import Bools, Floats
from guardrail.calibration.record import Block
from guardrail.html.charts.plot import LEFT, RIGHT, WIDTH, Key, key, x_axis, y_axis
from guardrail.html.charts.scale import Scale, padded
from guardrail.html.charts.svg import Element, area, drawing, hatching, line, polyline, rect, words
from guardrail.html.charts.ticks import nice_ticks, tick_labels

BINS = 24
_SPREAD = (
    50.0  # from this ratio of the 95th to the 5th percentile, a linear axis would press most scores into a few bins
)
_CURVE, _HALF = 130.0, 84.0


@dataclass(frozen=True, slots=True)
class Counts:
    """A histogram: edges (bins + 1,) of score bins, equally wide on the axis that is drawn; right, wrong: answers, (bins,)."""

    edges: tuple[float, ...]
    right: tuple[int, ...]
    wrong: tuple[int, ...]
    log: bool


def counts_of(score: Floats, correct: Bools) -> Counts:
    """Scores in `BINS` bins, on a log axis where all are above 0 and most of them would lie at one end of a linear one."""
    low, middle, high = np.quantile(score, [0.05, 0.5, 0.95]).tolist()
    log = bool(score.min() > 0 and high > _SPREAD * low and middle < 0.25 * high)
    first, last = float(score.min()), float(score.max())
    if first == last:
        first, last = padded(first, last)
    edges = np.geomspace(first, last, BINS + 1) if log else np.linspace(first, last, BINS + 1)
    edges[0], edges[-1] = first, last  # rounding must leave no score outside
    right, _ = np.histogram(score[correct], edges)
    wrong, _ = np.histogram(score[~correct], edges)
    return Counts(tuple(edges.tolist()), tuple(right.tolist()), tuple(wrong.tolist()), log)


def score_histogram(
    slug: str, title: str, description: str, counts: Counts, blocks: Sequence[Block], *, unit: str = "answer"
) -> Markup:
    """Above: the calibrator's curve with its interval over its own range of scores. Below: right answers upwards, wrong ones
    downwards, over the same scores.

    blocks: the calibrator's, whose estimates stand at their median scores, with straight lines between (isotonic.py). unit:
    what is counted.
    """
    hatch = f"{slug}-hatch"
    entries = [
        Key("line", "curve s1", "calibrator: probability of being right, 95 % interval"),
        Key("full", "full s1", f"right {unit}s, upwards"),
        Key("hatched", "hatched s2", f"wrong {unit}s, downwards", fill=f"url(#{hatch})"),
    ]
    top = 15.0 * len(entries) + 34
    x = Scale(*_range(counts, blocks), LEFT, RIGHT, log=counts.log)
    p = Scale(0, 1, top + _CURVE, top)
    middle = p.start + 34 + _HALF
    most = max(*counts.right, *counts.wrong, 1)
    up, down = Scale(0, most, middle, middle - _HALF), Scale(0, most, middle, middle + _HALF)
    marks: list[Element] = [
        hatching(hatch, "hatch s2"),
        *key(entries, 12),
        *y_axis(p, LEFT, RIGHT, "probability of being right, as calibrated"),
        *(line("grid", x(t), top, x(t), p.start) for t in x.ticks()),
        *_curve(blocks, x, p),
        *x_axis(
            x, middle + _HALF, f"score (higher = less sure){', log scale' if counts.log else ''}", top=middle - _HALF
        ),
        words("axis-title", 0, middle - _HALF - 10, f"{unit}s in each bin of scores"),
        *_count_axis(up, down, most),
        *_bars(counts, x, up, counts.right, "full s1"),
        *_bars(counts, x, down, counts.wrong, "hatched s2", fill=f"url(#{hatch})"),
        line("axis", x.start, middle, x.stop, middle),
    ]
    return drawing(slug, title, description, WIDTH, middle + _HALF + 36, marks)


def _range(counts: Counts, blocks: Sequence[Block]) -> tuple[float, float]:
    low, high = min(counts.edges[0], blocks[0].first), max(counts.edges[-1], blocks[-1].last)
    if counts.log and low <= 0:  # the calibrator has seen scores that a log axis has no place for
        low = counts.edges[0]
    return padded(low, high, 0.01, log=counts.log)


def _curve(blocks: Sequence[Block], x: Scale, y: Scale) -> list[Element]:
    """Straight in the score between the blocks' medians, which on a log axis is bent; constant beyond the first and
    the last."""
    knots = [blocks[0].first, *(b.score for b in blocks), blocks[-1].last]
    values = [blocks[0], *blocks, blocks[-1]]
    steps = 8 if x.log else 1
    at, rows = [knots[0]], [(blocks[0].p_correct, blocks[0].low, blocks[0].high)]
    for (a, before), (b, after) in zip(
        zip(knots, values, strict=True), zip(knots[1:], values[1:], strict=True), strict=False
    ):
        for t in np.linspace(0, 1, steps + 1)[1:].tolist():
            at.append(a + t * (b - a))
            pairs = ((before.p_correct, after.p_correct), (before.low, after.low), (before.high, after.high))
            p, low, high = (u + t * (v - u) for u, v in pairs)
            rows.append((p, low, high))
    place = [x(a) for a in at]
    mid, low_line, high_line = ([(c, y(row[i])) for c, row in zip(place, rows, strict=True)] for i in range(3))
    return [area("band s1", high_line, low_line), polyline("curve s1", mid)]


def _count_axis(up: Scale, down: Scale, most: int) -> list[Element]:
    ticks = [t for t in nice_ticks(0, most, 5) if t == int(t)]
    labels = tick_labels(ticks)
    out = [words("tick", LEFT - 5, up(t) + 4, s, "end") for t, s in zip(ticks, labels, strict=True)]
    out += [words("tick", LEFT - 5, down(t) + 4, s, "end") for t, s in zip(ticks[1:], labels[1:], strict=True)]
    return out + [line("grid", LEFT, scale(t), RIGHT, scale(t)) for scale in (up, down) for t in ticks[1:]]


def _bars(counts: Counts, x: Scale, y: Scale, heights: Sequence[int], look: str, **more: str) -> list[Element]:
    out = []
    for low, high, n in zip(counts.edges, counts.edges[1:], heights, strict=False):
        if n:
            left, right, end = x(low) + 0.5, x(high) - 0.5, y(n)
            out.append(rect(look, left, min(end, y.start), right - left, abs(end - y.start), **more))
    return out
