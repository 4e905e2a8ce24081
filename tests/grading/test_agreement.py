import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score

from guardrail.calibration.metrics import wilson_interval
from guardrail.errors import DataError
from guardrail.grading.agreement import agreement, kappa_of, rates

GRADES = st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=60)


def test_a_table_by_hand():
    """20 both right, 15 both wrong, 5 and 10 apart: agreement 0.7, chance 0.5, kappa 0.4 (the usual textbook case)."""
    a = [True] * 25 + [False] * 25
    b = [True] * 20 + [False] * 5 + [True] * 10 + [False] * 15
    found = agreement("x", [*a, None, True], "y", [*b, True, None])
    assert (found.n, found.ungraded) == (50, 2)
    assert (found.both_right, found.both_wrong, found.only_first, found.only_second) == (20, 15, 5, 10)
    assert found.agree == wilson_interval(35, 50)
    assert found.kappa.value == pytest.approx(0.4)
    assert found.kappa.low == pytest.approx((found.agree.low - 0.5) / 0.5)
    assert found.kappa.high == pytest.approx((found.agree.high - 0.5) / 0.5)


@given(GRADES)
def test_kappa_is_scikit_learns(pairs):
    found = kappa_of(pairs)
    a, b = zip(*pairs, strict=True)
    if found is None:
        assert len({*a, *b}) == 1
    else:
        assert found.value == pytest.approx(cohen_kappa_score(a, b), abs=1e-9)
        assert -1 <= found.low <= found.value <= found.high <= 1 + 1e-9


def test_perfect_agreement_is_not_certain():
    found = kappa_of([(True, True), (False, False)] * 10)
    assert found.value == 1
    assert 0.5 < found.low < 0.75
    assert kappa_of([(True, True)] * 9) is None


@pytest.mark.parametrize(("right", "agree"), [(0.25, 0.9), (0.5, 0.75), (0.3, 0.98)])
def test_the_interval_of_kappa_covers(right, agree):
    """95 % in simulation, within what 2,000 draws can tell, on the tables that graders give: n = 150."""
    rng = np.random.default_rng(0)
    other = right * agree + (1 - right) * (1 - agree)
    chance = right * other + (1 - right) * (1 - other)
    true = (agree - chance) / (1 - chance)
    hits = 0
    for _ in range(2000):
        a = rng.random(150) < right
        b = np.where(rng.random(150) < agree, a, ~a)
        found = kappa_of(list(zip(a.tolist(), b.tolist(), strict=True)))
        hits += found is not None and found.low <= true <= found.high
    assert hits / 2000 > 0.93


def test_rates_by_hand():
    truth = [True] * 4 + [False] * 6
    found = rates("x", [True, True, False, None, True, False, False, False, False, None], truth)
    assert (found.right, found.wrong, found.ungraded) == (3, 5, 2)
    assert found.false_right == wilson_interval(1, 5)
    assert found.false_wrong == wilson_interval(1, 3)


def test_what_there_is_none_of_has_no_rate():
    found = rates("x", [True, False], [True, True])
    assert found.false_right is None
    assert found.false_wrong == wilson_interval(1, 2)
    nothing = rates("x", [None], [True])
    assert (nothing.false_right, nothing.false_wrong, nothing.kappa, nothing.ungraded) == (None, None, None, 1)
    with pytest.raises(DataError, match="no answer that both x and y grade"):
        agreement("x", [None, True], "y", [True, None])
