"""How far wrong labels move figures: bounds against every way to turn labels, and a simulated grader that errs at random."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guardrail.calibration.label_errors import auroc_bounds, label_errors
from guardrail.calibration.metrics import auroc, ece
from guardrail.errors import CalibrationError


def every_way(u, correct, down, up):
    """AUROC of each labelling that turns at most so many right and wrong ones round, and leaves both kinds."""
    right, wrong = np.flatnonzero(correct), np.flatnonzero(~correct)
    for turned in [*subsets(right, down)]:
        for others in subsets(wrong, up):
            labels = correct.copy()
            labels[[*turned, *others]] ^= True
            if labels.any() and not labels.all():
                yield auroc(u, labels)


def subsets(indices, most):
    return [chosen for k in range(most + 1) for chosen in combinations(indices.tolist(), k)]


@settings(max_examples=60)
@given(
    st.lists(st.tuples(st.integers(0, 4), st.booleans()), min_size=3, max_size=8).filter(
        lambda rows: len({right for _, right in rows}) == 2
    ),
    st.integers(0, 2),
    st.integers(0, 2),
)
def test_the_bounds_are_the_ends_of_every_way_to_turn_labels(rows, down, up):
    u, correct = np.array([float(x) for x, _ in rows]), np.array([right for _, right in rows])
    right, wrong = int(correct.sum()), int((~correct).sum())
    found = auroc_bounds(u, correct, min(down, right - 1), min(up, wrong - 1))
    ways = [*every_way(u, correct, min(down, right - 1), min(up, wrong - 1))]
    assert found == pytest.approx((min(ways), max(ways)))


def test_without_errors_nothing_moves():
    rng = np.random.default_rng(0)
    p = rng.random(300)
    correct = rng.random(300) < p
    found = label_errors(p, correct, 0.0, 0.0)
    assert found.share == 0
    assert found.accuracy == correct.mean()
    assert found.auroc == pytest.approx((found.auroc_at_random,) * 2)
    assert found.ece == pytest.approx((ece(p, correct),) * 2)


def graded(n=40_000, false_right=0.05, false_wrong=0.2, seed=0):
    """True labels, and those of a grader that errs at random."""
    rng = np.random.default_rng(seed)
    p = rng.beta(1, 2, n)
    true = rng.random(n) < p
    turned = rng.random(n) < np.where(true, false_wrong, false_right)
    return p, true, true ^ turned


def test_a_grader_that_errs_at_random_is_seen_through():
    p, true, said = graded()
    found = label_errors(p, said, 0.05, 0.2)
    assert found.accuracy == pytest.approx(true.mean(), abs=0.01)
    assert found.auroc_at_random == pytest.approx(auroc(1 - p, true), abs=0.01)
    assert auroc(1 - p, said) < found.auroc_at_random - 0.03
    assert found.share == pytest.approx((true != said).mean(), abs=0.01)
    assert found.auroc.low < auroc(1 - p, true) < found.auroc.high
    assert found.ece.low <= ece(p, true) <= found.ece.high


def test_labels_of_people_are_taken_as_true():
    p, _, said = graded(2000)
    assert label_errors(p, said, 0.05, 0.2, by_hand=1.0).auroc == pytest.approx((auroc(1 - p, said),) * 2)
    half, none = (label_errors(p, said, 0.05, 0.2, by_hand=share) for share in (0.5, 0.0))
    assert half.share < none.share
    assert none.auroc.low < half.auroc.low


def test_rates_that_cannot_have_given_the_labels_say_nothing():
    p, correct = np.full(100, 0.5), np.arange(100) < 3
    assert label_errors(p, correct, 0.05, 0.1) is None
    assert label_errors(p, ~correct, 0.05, 0.1) is None
    assert label_errors(p, correct, 0.6, 0.6) is None
    with pytest.raises(CalibrationError, match=r"lie in \[0, 1\), unlike 1.0 and 0.1"):
        label_errors(p, correct, 1.0, 0.1)
    with pytest.raises(CalibrationError, match="all right"):
        label_errors(p, np.ones(100, dtype=np.bool_), 0.0, 0.1)
