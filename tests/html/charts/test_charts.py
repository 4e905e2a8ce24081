"""Charts as SVG: small cases to the letter, what lies where, and what a screen reader gets."""

from __future__ import annotations

import re
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardrail.calibration.metrics import Estimate, ReliabilityBin, reliability_table
from guardrail.calibration.pooling import fit_blocks
from guardrail.html.charts import Point, Row, dot_whisker, reliability_diagram, risk_coverage, score_histogram
from guardrail.html.charts.plot import LEFT, RIGHT, WIDTH
from guardrail.html.charts.risk_coverage import _resolved
from guardrail.html.charts.score_histogram import BINS, counts_of
from guardrail.html.charts.svg import area, drawing, element, line, mark, number, polyline, rect, words

HOSTILE = "</svg><script>alert('x')</script> & \"q\" \u202e\x00"


def parsed(svg):
    """The tree; fails where it is not well formed."""
    return ET.fromstring(str(svg))  # noqa: S314


def all_of(root, tag, look=""):
    return [e for e in root.iter(tag) if set(look.split()) <= set(e.get("class", "").split())]


def test_elements_to_the_letter():
    def text(e):
        return ET.tostring(e, encoding="unicode")

    assert text(line("grid", 0, 1.004, 2.5, -0.001)) == '<line class="grid" x1="0" y1="1" x2="2.5" y2="0" />'
    assert text(rect("full", 1, 2, -3, 4, fill="url(#h)")) == (
        '<rect class="full" x="1" y="2" width="0" height="4" fill="url(#h)" />'
    )
    assert (
        text(words("tick", 3, 4, "a < b", "end")) == '<text class="tick" x="3" y="4" text-anchor="end">a &lt; b</text>'
    )
    assert text(polyline("curve", [(0, 0), (1, 2)])) == '<path class="curve" d="M0,0L1,2" />'
    assert text(area("band", [(0, 1), (2, 1)], [(0, 5), (2, 6)])) == '<path class="band" d="M0,1L2,1L2,6L0,5Z" />'
    assert text(mark("circle", "dot", 1, 2, 3)) == '<circle class="dot" cx="1" cy="2" r="3" />'
    assert len({text(mark(s, "dot", 0, 0)) for s in ("circle", "square", "diamond", "triangle")}) == 4


def test_a_drawing_to_the_letter():
    assert drawing("a", "What & why", "1 < 2", 10, 20, [element("g", "", stroke_width=2)]) == (
        '<svg class="chart" viewBox="0 0 10 20" role="img" aria-labelledby="a-title a-desc"><title id="a-title">What &amp; why'
        '</title><desc id="a-desc">1 &lt; 2</desc><g stroke-width="2" /></svg>'
    )


@given(st.text(max_size=60))
def test_no_text_becomes_markup(text):
    root = parsed(drawing("a", text, text, 10, 10, [words("label", 0, 0, text)]))
    assert [e.tag for e in root] == ["title", "desc", "text"]


@given(st.floats(-1e6, 1e6))
def test_numbers_are_short_and_near(value):
    assert re.fullmatch(r"-?\d+(\.\d{1,2})?", number(value))
    assert float(number(value)) == pytest.approx(value, abs=0.00501)


def bins(*rows):
    return [ReliabilityBin(low, high, mean, Estimate(*seen)) for low, high, mean, seen in rows]


def test_reliability_points_lie_where_they_say():
    svg = reliability_diagram(
        "r", "t", "d", bins((0.4, 0.5, 0.45, (0.45, 0.3, 0.6, 20)), (0.9, 1.0, 0.95, (0.5, 0.2, 0.8, 5)))
    )
    root = parsed(svg)
    first, second = (
        e for e in all_of(root, "circle", "dot s1") if float(e.get("r")) == 4 and float(e.get("cx")) > LEFT
    )
    (diagonal,) = all_of(root, "path", "reference")
    x0, y0, x1, y1 = map(float, re.findall(r"[\d.]+", diagonal.get("d")))
    assert (x0, x1) == (LEFT, RIGHT)
    share = (float(first.get("cx")) - x0) / (x1 - x0)
    assert share == pytest.approx(0.45, abs=0.001)
    assert (y0 - float(first.get("cy"))) / (y0 - y1) == pytest.approx(0.45, abs=0.001), "on the diagonal"
    assert (y0 - float(second.get("cy"))) / (y0 - y1) == pytest.approx(0.5, abs=0.001)
    heights = sorted(float(e.get("height")) for e in all_of(root, "rect", "full s1"))
    assert heights[1] / heights[0] == pytest.approx(4, abs=0.02), "20 answers against 5"


def test_series_differ_without_colour():
    b = bins((0.4, 0.5, 0.45, (0.45, 0.3, 0.6, 20)))
    root = parsed(reliability_diagram("r", "t", "d", b, b))
    assert all_of(root, "path", "ring s2"), "diamonds against circles"
    assert all_of(root, "path", "whisker s2 dashed")
    assert {e.get("fill") for e in all_of(root, "rect", "hatched s2")} == {"url(#r-hatch)"}
    assert len(all_of(root, "rect", "full s1")) == len(all_of(root, "rect", "hatched s2")) == 1


def test_one_answer_among_thousands_is_still_a_bar():
    root = parsed(
        reliability_diagram("r", "t", "d", bins((0, 0.1, 0, (0, 0, 0.001, 5000)), (0.9, 1, 1, (1, 0.2, 1, 1))))
    )
    assert min(float(e.get("height")) for e in all_of(root, "rect", "full s1")) == 0.75


def risk(**more):
    coverage = np.array([0.25, 0.5, 1.0])
    values = {"right_share": 0.5, "unguarded": 0.5, **more}
    return parsed(
        risk_coverage(
            "k",
            "t",
            "d",
            coverage,
            np.array([0.0, 0.25, 0.5]),
            np.array([0.0, 0.1, 0.3]),
            np.array([0.6, 0.5, 0.7]),
            **values,
        )
    )


def test_the_risk_curve_by_hand():
    root = risk()
    (curve,) = all_of(root, "path", "curve s1")
    places = [tuple(map(float, p.split(","))) for p in curve.get("d")[1:].split("L")]
    assert [round((x - LEFT) / (RIGHT - LEFT), 3) for x, _ in places] == [0.25, 0.5, 1.0]
    bottom, top = places[0][1], places[0][1] - 250
    assert [round((bottom - y) / (bottom - top), 3) for _, y in places] == [0, 0.25, 0.5]
    (oracle,) = all_of(root, "path", "reference dashed")
    assert oracle.get("d").endswith(f"L{number(RIGHT)},{number((bottom + top) / 2)}"), (
        "all answered: half of them wrong"
    )


def test_policies_stand_on_top_with_what_they_promise():
    error = Estimate(0.2, 0.1, 0.4, 30)
    points = [Point("policy a: answered", 0.3, error, promised=0.25), Point("policy b: answered", 0.3, error)]
    root = risk(points=points)
    texts = ["".join(e.itertext()) for e in all_of(root, "text")]
    assert "policy a: answered" in texts
    assert "promised there: at most 25 %" in texts
    shapes = [e.tag + e.get("d", "")[:1] for e in root.iter() if "dot" in e.get("class", "")]
    assert shapes == ["rect", "pathM", "rect", "pathM"], "a key and a point each, of another shape"


def test_points_closer_than_the_eye_sees_are_left_out_and_the_last_stays():
    places = np.linspace(0, 100, 10_001)
    kept = _resolved(places)
    assert len(kept) <= 202
    assert (kept[0], kept[-1]) == (0, 10_000)
    assert _resolved(np.array([5.0])) == [0]


@given(st.lists(st.tuples(st.floats(-1e6, 1e6, width=32), st.booleans()), min_size=1, max_size=80))
def test_every_score_is_in_one_bin(rows):
    score, correct = np.array([s for s, _ in rows], dtype=float), np.array([c for _, c in rows])
    counts = counts_of(score, correct)
    assert (sum(counts.right), sum(counts.wrong)) == (int(correct.sum()), int((~correct).sum()))
    assert len(counts.edges) == BINS + 1
    assert not counts.log or score.min() > 0


def test_heavy_tails_get_a_log_axis():
    rng = np.random.default_rng(0)
    correct = np.arange(200) % 2 == 0
    assert counts_of(np.exp(rng.normal(0, 3, 200)), correct).log
    assert not counts_of(rng.uniform(0.1, 1, 200), correct).log
    assert not counts_of(np.exp(rng.normal(0, 3, 200)) - 1e-3, correct).log, "not all above 0"


@pytest.mark.parametrize("log", [False, True])
def test_the_calibrators_curve_goes_through_its_blocks(log):
    rng = np.random.default_rng(1)
    score = np.exp(rng.normal(0, 3, 300)) if log else rng.uniform(0, 1, 300)
    correct = rng.uniform(0, 1, 300) > np.argsort(np.argsort(score)) / 300
    counts = counts_of(score, correct)
    assert counts.log is log
    blocks = fit_blocks(score, correct)
    root = parsed(score_histogram("s", "t", "d", counts, blocks))
    curve = next(e for e in all_of(root, "path", "curve s1"))
    places = [tuple(map(float, p.split(","))) for p in curve.get("d")[1:].split("L")]
    falling = [y for _, y in places]
    assert falling == sorted(falling), "less probable to the right: further down"
    assert [x for x, _ in places] == sorted(x for x, _ in places)
    texts = ["".join(e.itertext()) for e in all_of(root, "text")]
    assert ("score (higher = less sure), log scale" in texts) is log
    bars = all_of(root, "rect", "full s1") + all_of(root, "rect", "hatched s2")
    assert len(bars) == 2 + sum(n > 0 for n in counts.right) + sum(n > 0 for n in counts.wrong)


def test_scores_that_are_all_alike_still_make_a_chart():
    score, correct = np.full(40, 0.5), np.arange(40) < 20
    blocks = fit_blocks(np.linspace(0, 1, 40), correct)
    root = parsed(score_histogram("s", "t", "d", counts_of(score, correct), blocks))
    bars = all_of(root, "rect", "full s1") + all_of(root, "rect", "hatched s2")
    assert len(bars) == 2 + 2, "the key, and one bar of right and one of wrong answers"


def test_dots_and_whiskers_by_hand():
    rows = [Row("hybridgrad", 0.7, 0.6, 0.8, chief=True), Row("a scorer with a very long name", 0.5, 0.4, 0.6)]
    root = parsed(dot_whisker("w", "t", "d", rows, "AUROC", reference=0.5, reference_name="chance"))
    first, second = (float(e.get("cx")) for e in all_of(root, "circle"))
    (reference,) = all_of(root, "line", "reference")
    assert second == pytest.approx(float(reference.get("x1")), abs=0.01)
    assert first > second
    low, high = (
        float(v)
        for v in re.match(r"M([\d.]+),[\d.]+H([\d.]+)", all_of(root, "path", "whisker s1")[0].get("d")).groups()
    )
    assert low < first < high
    assert first - low == pytest.approx(high - first, abs=0.02)
    labels = ["".join(e.itertext()) for e in all_of(root, "text", "label")]
    assert labels == ["hybridgrad", "a scorer with a ve…"]
    with pytest.raises(ValueError, match="at least one"):
        dot_whisker("w", "t", "d", [], "AUROC")
    with pytest.raises(ValueError, match="above 0"):
        dot_whisker("w", "t", "d", [Row("a", 0, 0, 1)], "seconds", log=True)


@given(
    st.lists(
        st.tuples(st.text(max_size=30), st.floats(-100, 100), st.floats(0, 10), st.floats(0, 10)),
        min_size=1,
        max_size=8,
    )
)
def test_nothing_is_drawn_outside(rows):
    made = [Row(name, v, v - a, v + b) for name, v, a, b in rows]
    root = parsed(dot_whisker("w", "t", "d", made, "axis", reference=0.0, reference_name="zero"))
    _, _, width, height = map(float, root.get("viewBox").split())
    assert width == WIDTH
    for e in all_of(root, "circle"):
        assert 0 <= float(e.get("cx")) <= width
        assert 0 <= float(e.get("cy")) <= height


def test_hostile_names_are_only_text():
    error = Estimate(0.2, 0.1, 0.4, 30)
    for svg in (
        dot_whisker("w", HOSTILE, HOSTILE, [Row(HOSTILE, 0.5, 0.4, 0.6)], HOSTILE, reference=0.5, reference_name=HOSTILE),
        risk_coverage(
            "k", HOSTILE, HOSTILE, np.array([0.5, 1.0]), np.array([0.1, 0.5]), np.array([0.0, 0.2]), np.array([0.4, 0.8]),
            right_share=0.5, unguarded=0.5, points=[Point(HOSTILE, 0.5, error, 0.3)],
        ),
        reliability_diagram("r", HOSTILE, HOSTILE, reliability_table(np.array([0.2, 0.8]), np.array([False, True]))),
    ):  # fmt: skip
        root = parsed(svg)
        assert not list(root.iter("script"))
        assert "\u202e" not in svg
        assert "\x00" not in svg
        assert "style=" not in svg
        assert root.get("role") == "img"
        title, desc = root.get("aria-labelledby").split()
        assert {e.get("id") for e in root} >= {title, desc}
