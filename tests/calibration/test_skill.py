"""Brier skill: 0 for the base rate itself, 1 for who knows; an affine function of the Brier score."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardrail.calibration.metrics import bootstrap_interval, brier
from guardrail.calibration.skill import brier_skill
from guardrail.errors import CalibrationError


def test_by_hand():
    # Brier (0.01 + 0.04 + 0.16 + 0.01) / 4 = 0.055; the base rate 0.5 has 0.25
    assert brier_skill([0.9, 0.8, 0.4, 0.1], [True, True, False, False]) == pytest.approx(1 - 0.055 / 0.25)
    # a rate of 1 in 4 has 0.1875, and who says 0.5 of everything 0.25: worse than the rate
    assert brier_skill([0.5] * 4, [True, False, False, False]) == pytest.approx(-1 / 3)


@given(st.lists(st.booleans(), min_size=2).filter(lambda c: 0 < sum(c) < len(c)))
def test_the_base_rate_has_none_and_the_truth_has_all(correct):
    rate = float(np.mean(correct))
    assert brier_skill([rate] * len(correct), correct) == pytest.approx(0, abs=1e-9)
    assert brier_skill(np.array(correct, dtype=float), correct) == pytest.approx(1)
    said = np.linspace(0, 1, len(correct))
    assert brier_skill(said, correct) == pytest.approx(1 - brier(said, correct) / brier([rate] * len(correct), correct))


@pytest.mark.parametrize("alike", [[True] * 3, [False] * 3])
def test_without_right_and_wrong_ones_there_is_no_base_rate_to_beat(alike):
    with pytest.raises(CalibrationError, match="needs right and wrong answers; these 3 are all alike"):
        brier_skill([0.2, 0.5, 0.9], alike)


def test_its_interval_draws_the_base_rate_too():
    rng = np.random.default_rng(0)
    p = rng.uniform(size=400)
    found = bootstrap_interval(brier_skill, p, rng.uniform(size=400) < p)
    assert found.low < 1 / 3 < found.high  # of a true curve over [0, 1]: 1 - E[p (1 - p)] / 0.25 = 1/3
