"""Accuracy against the share that is asked of a second model: by hand, against a slow reference, and its identities."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guardrail.errors import CalibrationError
from guardrail.evaluation.cascade import BEST_ORDER, cascade, curve, over_random

FIRST, SECOND = np.array([1, 0, 1, 0], dtype=bool), np.array([1, 1, 0, 1], dtype=bool)


def area(points):
    """Under a curve of n + 1 points: the slow reference."""
    return float(np.mean((points[1:] + points[:-1]) / 2))


def beyond_random(u, first, second):
    once = np.ones((1, len(first)), dtype=np.int64)
    return float(over_random(u, second.astype(float) - first, once)[0])


def test_four_questions_by_hand():
    u = [0.1, 0.9, 0.2, 0.8]
    # the second is asked about 2 (gained), 4 (gained), 3 (lost), 1 (as before)
    assert curve(u, FIRST, SECOND).tolist() == [0.5, 0.75, 1.0, 0.75, 0.75]
    assert beyond_random(u, FIRST, SECOND) == 0.15625, "0.78125 beside a line from 0.5 to 0.75"
    (found, _) = cascade({"u": np.array(u)}, FIRST, SECOND, name="big").curves
    assert found.over_random.value == 0.15625
    assert found.over_always.value == 0.03125, "beside the second's 0.75"


def test_equal_scores_stand_for_all_their_orders():
    u = np.array([0.5, 0.5, 0.5, 0.9])
    orders = [np.array([*(0.1 * k for k in order), 0.9]) for order in permutations(range(1, 4))]
    expected = np.mean([curve(one, FIRST, SECOND) for one in orders], axis=0)
    assert curve(u, FIRST, SECOND) == pytest.approx(expected)
    assert beyond_random(np.zeros(4), FIRST, SECOND) == pytest.approx(0), "no score at all is a random order"


rows = st.lists(st.tuples(st.integers(0, 5), st.booleans(), st.booleans()), min_size=1, max_size=30)


@given(rows)
@settings(deadline=None)
def test_ends_and_bounds(told):
    u, first, second = (np.array(column) for column in zip(*told, strict=True))
    first, second = first.astype(bool), second.astype(bool)
    points = curve(u, first, second)
    assert points[0] == pytest.approx(first.mean())
    assert points[-1] == pytest.approx(second.mean())
    gain = second.astype(float) - first
    line = (first.mean() + second.mean()) / 2
    assert beyond_random(u, first, second) == pytest.approx(area(points) - line)
    assert beyond_random(u, first, second) <= beyond_random(gain, first, second) + 1e-12
    assert beyond_random(-u.astype(float), first, second) == pytest.approx(-beyond_random(u, first, second))
    twice = over_random(u, gain, np.arange(1, len(u) + 1)[None])
    repeated = np.repeat(np.arange(len(u)), np.arange(1, len(u) + 1))
    assert twice[0] == pytest.approx(beyond_random(u[repeated], first[repeated], second[repeated]))


def test_a_good_score_stands_above_random_and_a_bad_one_does_not():
    rng = np.random.default_rng(0)
    first, second = rng.random(300) < 0.4, rng.random(300) < 0.8
    scores = {"noise": rng.random(300), "good": rng.random(300) - first}
    found = cascade(
        scores, first, second, name="big", controls={"texts": rng.random(300)}, cost_per_call=1, cost_of_second=5
    )
    assert [c.name for c in found.curves] == ["good", "noise", "texts", BEST_ORDER]
    good, noise, _, best = found.curves
    assert good.over_random.low > 0
    assert noise.over_random.low < 0 < noise.over_random.high
    assert best.over_random.value > good.over_random.value
    assert found.beyond_texts.value == pytest.approx(good.over_random.value - found.curves[2].over_random.value)
    assert good.at(0) == found.first_alone.value == first.mean()
    assert good.at(1) == found.second_alone.value == found.random(1)
    assert found.cost(0.5) == 3.5
    assert found.to_dict()["costs"][-1] == 6


def test_nothing_in_common_is_refused():
    nothing = np.array([], dtype=bool)
    with pytest.raises(CalibrationError, match="answered by both"):
        cascade({"u": np.array([])}, nothing, nothing, name="big")
