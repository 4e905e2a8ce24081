"""Eq. 6, its knobs, the quantile scale and the bands, by hand."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from guardrail.errors import ScoringError
from guardrail.scoring.profile import Profile, band_start, quantile_of

GRID = (0.0, 1.0, 2.0, 4.0, 8.0)


def test_eq_6_by_hand():
    alpha = math.exp(-0.5)
    assert Profile(token=-4).combine(2.0, 3.0, 0.5) == pytest.approx((1 - alpha) * 2 + alpha * 3)
    assert Profile(token=-4).combine(2.0, 3.0, 0.0) == 3.0  # certain words: ParaGrad alone
    assert Profile(token=-4, tau=2.0, beta=0.1).combine(2.0, 3.0, 1.0) == pytest.approx(
        (1 - alpha) * 2 + 0.1 * alpha * 3
    )
    assert Profile(token=-4, alpha=0.25).combine(2.0, 3.0, 9.0) == pytest.approx(0.75 * 2 + 0.25 * 3)


def test_quantile_scale_by_hand():
    profile = Profile(token=-1, scale="quantile", alpha=0.5, semgrad_quantiles=GRID, paragrad_quantiles=(0.0, 10.0))
    assert profile.combine(3.0, 5.0, 1.0) == pytest.approx(0.5 * 0.625 + 0.5 * 0.5)


@pytest.mark.parametrize(("x", "q"), [(0.0, 0.0), (1.0, 0.25), (1.5, 0.375), (4.0, 0.75), (6.0, 0.875), (8.0, 1.0)])
def test_quantiles(x, q):
    assert quantile_of(x, GRID) == pytest.approx(q)


@given(st.floats(0, 1e6), st.floats(0, 1e6))
def test_a_larger_value_has_no_smaller_quantile(x, y):
    for grid in (GRID, (0.5, 0.5, 3.0, 3.0), (1e-9, 1e-8)):
        low, high = sorted((x, y))
        assert quantile_of(low, grid) <= quantile_of(high, grid)


def test_beyond_the_grid_order_is_kept():
    grid = (1.0, 2.0, 4.0)
    assert quantile_of(0.5, grid) < 0 < quantile_of(1.1, grid)
    assert 1 < quantile_of(5.0, grid) < quantile_of(6.0, grid) <= 2


@pytest.mark.parametrize(
    ("band", "layers", "first"),
    [
        ("code", 30, 15),
        ("text", 30, 16),
        ("code", 5, 3),
        ("text", 5, 3),
        ("code", 2, 1),
        ("text", 3, 2),
        ("code", 4, 2),
    ],
)
def test_bands(band, layers, first):
    assert band_start(band, layers) == first


@pytest.mark.parametrize(("band", "layers"), [("code", 1), ("text", 2), ("text", 1)])
def test_empty_bands(band, layers):
    with pytest.raises(ScoringError, match="is empty"):
        band_start(band, layers)


@pytest.mark.parametrize(
    "options",
    [
        {"token": 0},
        {"token": -1, "tau": 0.0},
        {"token": -1, "alpha": 1.5},
        {"token": -1, "colour": "red"},
        {"token": -1, "scale": "quantile"},
        {"token": -1, "semgrad_quantiles": GRID},
        {"token": -1, "scale": "quantile", "semgrad_quantiles": (2.0, 1.0), "paragrad_quantiles": GRID},
        {"token": -1, "scale": "quantile", "semgrad_quantiles": (1.0, math.nan), "paragrad_quantiles": GRID},
    ],
)
def test_profiles_that_make_no_sense(options):
    with pytest.raises(ValidationError):
        Profile(**options)
