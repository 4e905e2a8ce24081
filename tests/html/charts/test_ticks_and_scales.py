"""Ticks are round numbers in the range, not too many; a scale is where a value goes."""

from __future__ import annotations

import itertools
import math
from decimal import Decimal

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from guardrail.html.charts.scale import Scale, padded
from guardrail.html.charts.ticks import log_ticks, nice_ticks, tick_labels

FINITE = st.floats(-1e12, 1e12, allow_subnormal=False)
POSITIVE = st.floats(1e-12, 1e12)
MOST = st.integers(5, 12)


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0, 1, (0, 0.2, 0.4, 0.6, 0.8, 1)),
        (0, 458, (0, 100, 200, 300, 400)),
        (-0.13, 0.03, (-0.1, -0.05, 0)),
        (0.58, 0.74, (0.6, 0.65, 0.7)),
        (3, 3, (3,)),
        (1e-9, 4.2e-9, (1e-9, 2e-9, 3e-9, 4e-9)),
    ],
)
def test_ticks_by_hand(low, high, ticks):
    assert nice_ticks(low, high) == ticks


@given(FINITE, FINITE, MOST)
def test_ticks_are_few_round_and_evenly_spaced(a, b, most):
    low, high = min(a, b), max(a, b)
    assume(high - low > 1e-6 * max(abs(a), abs(b)))
    ticks = nice_ticks(low, high, most)
    assert 2 <= len(ticks) <= most
    assert low <= ticks[0]
    assert ticks[-1] <= high
    steps = [y - x for x, y in itertools.pairwise(ticks)]
    assert all(math.isclose(s, steps[0], rel_tol=1e-3) for s in steps[1:-1])  # the ends may be cut by one rounding
    digit = f"{steps[len(steps) // 2]:.2e}"[0:3]
    assert digit in ("1.0", "2.0", "5.0")
    if low <= 0 <= high:
        assert 0 in ticks


@given(POSITIVE, POSITIVE, MOST)
def test_log_ticks_lie_in_the_range_and_ascend(a, b, most):
    low, high = min(a, b), max(a, b)
    assume(high > low * 1.001)
    ticks = log_ticks(low, high, most)
    assert 1 <= len(ticks) <= most
    assert list(ticks) == sorted(set(ticks))
    assert low <= ticks[0]
    assert ticks[-1] <= high
    if high > 100 * low:
        assert len(ticks) >= 2
        assert all(str(Decimal(repr(t)).normalize().as_tuple().digits[0]) in "1235" for t in ticks)


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0.08, 11, (0.1, 0.3, 1, 3, 10)),
        (1, 1000, (1, 10, 100, 1000)),
        (2, 5, (2, 2.5, 3, 3.5, 4, 4.5, 5)),
        (1e-9, 1e9, (1e-9, 1e-6, 1e-3, 1, 1e3, 1e6, 1e9)),
    ],
)
def test_log_ticks_by_hand(low, high, ticks):
    assert log_ticks(low, high, 7) == ticks


@pytest.mark.parametrize("bad", [(1, 0, 6), (0, math.inf, 6), (math.nan, 1, 6), (0, 1, 4)])
def test_no_ticks_for_what_is_no_range(bad):
    with pytest.raises(ValueError, match="no ticks"):
        nice_ticks(*bad)
    with pytest.raises(ValueError, match="above 0"):
        log_ticks(0, 1)


@given(st.lists(st.floats(-1e9, 1e9, allow_subnormal=False), min_size=2, max_size=2, unique=True), MOST)
@example([0.0, 2.3e-308], 8)
def test_labels_tell_ticks_apart_and_say_where_they_are(ends, most):
    low, high = sorted(ends)
    assume(high - low > 1e-6 * max(abs(low), abs(high)))
    ticks = nice_ticks(low, high, most)
    texts = tick_labels(ticks)
    assert len(set(texts)) == len(ticks)
    for text, tick in zip(texts, ticks, strict=True):
        assert float(text) == pytest.approx(tick, rel=1e-5, abs=1e-12 * (high - low))


def test_labels_by_hand():
    assert tick_labels((0, 0.2, 0.4)) == ("0", "0.2", "0.4")
    assert tick_labels((0, 0.5, 1), "%") == ("0 %", "50 %", "100 %")
    assert tick_labels((100, 200)) == ("100", "200")
    assert tick_labels((1e-7, 1e-6)) == ("1e-7", "1e-6")
    assert tick_labels((0.0001, 20000.0)) == ("0.0001", "20000")


@given(POSITIVE, POSITIVE, POSITIVE, st.booleans())
def test_a_scale_keeps_order_and_stays_inside(a, b, value, log):
    assume(a != b)
    low, high = min(a, b), max(a, b)
    scale = Scale(low, high, 300, 20, log)
    assert 20 <= scale(value) <= 300
    assert scale(low) == 300
    assert scale(high) == pytest.approx(20)
    assert scale(min(value, high)) >= scale(high)


def test_a_scale_by_hand():
    assert Scale(0, 1, 200, 0)(0.25) == 150
    assert Scale(1, 100, 0, 200, log=True)(10) == pytest.approx(100)
    assert Scale(0, 1, 0, 100)(7) == 100
    for bad in ((1, 1), (2, 1), (0, math.inf), (math.nan, 1)):
        with pytest.raises(ValueError, match="low < high"):
            Scale(*bad, 0, 1)
    with pytest.raises(ValueError, match="above 0"):
        Scale(0, 1, 0, 1, log=True)


def test_padding():
    assert padded(0, 10) == (-0.5, 10.5)
    assert padded(3, 3) == pytest.approx((2.7, 3.3))
    assert padded(0, 0)[0] < 0 < padded(0, 0)[1]
    low, high = padded(1, 100, log=True)
    assert low * high == pytest.approx(100)
    assert low < 1 < 100 < high
