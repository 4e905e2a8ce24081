"""What ECE a true curve would show: by hand, and against every outcome there can be."""

from itertools import product

import numpy as np
import pytest

from guardrail.calibration.chance import ece_of_chance
from guardrail.calibration.metrics import ece
from guardrail.errors import CalibrationError


def test_of_ten_fair_coins_by_hand():
    found = ece_of_chance([0.5] * 10, n=20_000)
    assert found.value == pytest.approx(10 * 252 / 2**10 / 2 / 10, abs=0.003)  # E|X - 5| / 10 for X ~ B(10, 1/2)
    assert (found.low, found.high, found.n) == (pytest.approx(0.0), pytest.approx(0.3), 10)


def test_is_the_mean_over_all_outcomes():
    p = np.array([0.05, 0.31, 0.38, 0.72, 0.94])
    every = [np.array(outcome) for outcome in product([False, True], repeat=len(p))]
    exact = sum(np.where(outcome, p, 1 - p).prod() * ece(p, outcome) for outcome in every)
    assert ece_of_chance(p, n=20_000).value == pytest.approx(exact, abs=0.004)


def test_more_answers_show_less_and_sure_ones_nothing():
    few, many = ece_of_chance([0.3] * 13), ece_of_chance([0.3] * 1300)
    assert many.high < few.value
    assert ece_of_chance([0.0, 1.0, 1.0]).high == 0


@pytest.mark.parametrize("wrong", [[], [0.5, float("nan")], [1.1]])
def test_what_is_no_probability_is_refused(wrong):
    with pytest.raises(CalibrationError):
        ece_of_chance(wrong)
