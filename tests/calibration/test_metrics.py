from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import brier_score_loss, roc_auc_score

from guardrail.calibration import metrics as m
from guardrail.errors import CalibrationError

U = np.array([0.1, 0.2, 0.2, 0.3])
C = np.array([True, True, False, False])

answers = st.lists(st.tuples(st.integers(-8, 8), st.booleans()), min_size=2, max_size=60)
forecasts = st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=60)


def columns(rows):
    u, c = zip(*rows, strict=True)
    return np.array(u, dtype=float), np.array(c)


def both_classes(rows):
    return len({c for _, c in rows}) == 2


def test_auroc_by_hand():
    # wrong 0.2 against right 0.1, 0.2: 1 + 1/2; wrong 0.3: 2
    assert m.auroc(U, C) == 3.5 / 4


@given(answers.filter(both_classes))
def test_auroc_against_sklearn_and_its_symmetries(rows):
    u, c = columns(rows)
    value = m.auroc(u, c)
    assert value == pytest.approx(roc_auc_score(~c, u), abs=1e-12)
    assert m.auroc(np.exp(u / 3), c) == value
    assert m.auroc(-u, c) == pytest.approx(1 - value, abs=1e-12)


def test_risk_coverage_by_hand():
    curve = m.risk_coverage_curve(U, C)
    np.testing.assert_allclose(curve.threshold, [0.1, 0.2, 0.3])
    np.testing.assert_allclose(curve.coverage, [0.25, 0.75, 1.0])
    np.testing.assert_allclose(curve.risk, [0, 1 / 3, 0.5])


def test_aurc_is_the_average_over_the_orders_of_tied_answers():
    orders = [C[list(p)] for p in permutations(range(4)) if all(np.diff(U[list(p)]) >= 0)]
    slow = np.mean([np.mean(np.cumsum(~o) / np.arange(1, 5)) for o in orders])
    assert m.aurc(U, C) == pytest.approx(slow, abs=1e-15)


@given(answers, st.randoms(use_true_random=False))
def test_aurc_does_not_depend_on_the_order_of_rows(rows, random):
    shuffled = random.sample(rows, len(rows))
    assert m.aurc(*columns(rows)) == pytest.approx(m.aurc(*columns(shuffled)), abs=1e-12)


@given(answers)
def test_the_curve_ends_at_the_error_rate(rows):
    u, c = columns(rows)
    curve = m.risk_coverage_curve(u, c)
    assert curve.coverage[-1] == 1
    assert curve.risk[-1] == pytest.approx(1 - m.accuracy(c))


def test_prr_by_hand():
    # AURC by hand: errors 0, 1/2, 1, 2 of 1..4 answers (the tied two come in either order)
    area = (0 + (1 / 2) / 2 + 1 / 3 + 2 / 4) / 4
    oracle = (0 + 0 + 1 / 3 + 2 / 4) / 4
    assert m.prr(U, C) == pytest.approx((0.5 - area) / (0.5 - oracle))
    assert m.prr(~C, C) == pytest.approx(1)
    assert m.prr(np.zeros(4), C) == pytest.approx(0)
    # the worst order of one wrong among two: error 1, then 1/2; at random 1/2, the oracle 0 and 1/2
    assert m.prr([0.0, 1.0], [False, True]) == pytest.approx((1 / 2 - 3 / 4) / (1 / 2 - 1 / 4)) == pytest.approx(-1)


@settings(deadline=None)
@given(answers.filter(both_classes))
def test_prr_against_a_slow_reference_and_its_symmetries(rows):
    """Areas under curves of the error rate of the answers left, over the number left, averaged over orders of ties."""
    u, c = columns(rows)
    n = len(c)

    def area(by):  # the error expected among the first k of the order, ties at random
        left = []
        for k in range(1, n + 1):
            cut = np.sort(by)[k - 1]
            sure, tied = by < cut, by == cut
            left.append(((~c)[sure].sum() + (k - sure.sum()) * (~c)[tied].mean()) / k)
        return np.mean(left)

    chance = np.mean(~c)
    assert m.prr(u, c) == pytest.approx((chance - area(u)) / (chance - area(~c)), abs=1e-9)
    assert m.prr(np.exp(u / 3), c) == pytest.approx(m.prr(u, c))
    assert m.prr(u, c) <= 1 + 1e-12


@settings(deadline=None)
@given(answers.filter(both_classes))
def test_with_rejected_answers_in_the_denominator_a_rejection_ratio_is_the_auroc(rows):
    """Why PRR counts those that are left alone: Malinin's is 2 AUROC - 1 for right and wrong."""
    u, c = columns(rows)
    n = len(c)

    def wrong_left(by):
        _, group, size = np.unique(by, return_inverse=True, return_counts=True)
        rate = np.repeat(np.bincount(group, weights=~c) / size, size)
        kept = np.concatenate([[0], np.cumsum(rate)])
        return np.trapezoid(kept, dx=1 / n)

    chance = np.mean(~c) * n / 2
    ratio = (chance - wrong_left(u)) / (chance - wrong_left(~c))
    assert ratio == pytest.approx(2 * m.auroc(u, c) - 1, abs=1e-9)


def test_brier_and_ece_by_hand():
    p = np.array([0.3, 0.35, 1.0, 0.0])
    c = np.array([True, False, True, False])
    assert m.brier(p, c) == pytest.approx((0.49 + 0.1225) / 4)
    # one bin [0.3, 0.4) with mean 0.325 and accuracy 0.5; the other two are exact
    assert m.ece(p, c) == pytest.approx(2 / 4 * 0.175)


@given(forecasts)
def test_brier_and_ece_against_slow_references(rows):
    p, c = columns(rows)
    assert m.brier(p, c) == pytest.approx(brier_score_loss(c, p, pos_label=True), abs=1e-12)
    slow = 0.0
    for k in range(10):
        here = [(x, y) for x, y in rows if k / 10 <= x < (k + 1) / 10 or (k == 9 and x == 1)]
        if here:
            slow += len(here) / len(rows) * abs(np.mean([y for _, y in here]) - np.mean([x for x, _ in here]))
    assert m.ece(p, c) == pytest.approx(slow, abs=1e-12)
    assert 0 <= m.ece(p, c) <= 1


@given(st.lists(st.booleans(), min_size=1))
def test_a_perfect_forecast_has_no_error(labels):
    c = np.array(labels)
    assert m.ece(c.astype(float), c) == 0
    assert m.brier(c.astype(float), c) == 0


@given(forecasts)
def test_the_reliability_table_holds_what_ece_sums(rows):
    p, c = columns(rows)
    table = m.reliability_table(p, c)
    assert sum(b.accuracy.n for b in table) == len(p)
    assert m.ece(p, c) == pytest.approx(sum(b.accuracy.n * abs(b.accuracy.value - b.mean_p) for b in table) / len(p))
    assert all(b.low - 1e-12 <= b.mean_p <= b.high + 1e-12 for b in table)


def test_what_a_bound_lets_through():
    risks = m.bound_risks([0.6, 0.9, 0.59, 0.1], [True, False, True, False])
    assert [(r.bound, r.wrong.n, r.wrong.value, r.share.value) for r in risks] == [
        (0.0, 4, 0.5, 1.0),
        (0.1, 4, 0.5, 1.0),
        *((bound / 10, 3, pytest.approx(1 / 3), 0.75) for bound in (2, 3, 4, 5)),
        (0.6, 2, 0.5, 0.5),
        *((bound / 10, 1, 1.0, 0.25) for bound in (7, 8, 9)),
    ]
    assert [r.bound for r in m.bound_risks([0.25], [True])] == [0.0, 0.1, 0.2], "what nothing reaches has no risk"


def test_top_labels():
    top = m.top_labels_share_and_accuracy([0.6, 0.9, 0.59, 0.1], [True, False, True, False])
    assert (top.share.value, top.share.n) == (0.5, 4)
    assert top.accuracy is not None
    assert (top.accuracy.value, top.accuracy.n) == (0.5, 2)
    assert m.top_labels_share_and_accuracy([0.1, 0.2], [True, False]).accuracy is None


def test_wilson_against_published_values():
    # Newcombe (1998), table I, method 3: 81 of 263, 15 of 148, 0 of 20, 1 of 29
    for k, n, low, high in [
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ]:
        e = m.wilson_interval(k, n)
        assert (round(e.low, 4), round(e.high, 4)) == (low, high)


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_holds_its_value_and_stays_in_range(share):
    e = m.wilson_interval(*share)
    assert 0 <= e.low <= e.value <= e.high <= 1
    assert e.low < e.high


def test_bootstrap_of_a_mean_agrees_with_theory_and_is_reproducible():
    c = np.random.default_rng(0).random(400) < 0.3
    e = m.bootstrap_interval(m.accuracy, c)
    assert e == m.bootstrap_interval(m.accuracy, c)
    assert e != m.bootstrap_interval(m.accuracy, c, seed=1)
    half = 1.96 * np.sqrt(e.value * (1 - e.value) / 400)
    assert e.low == pytest.approx(e.value - half, abs=0.01)
    assert e.high == pytest.approx(e.value + half, abs=0.01)
    assert e.n == 400


def test_bootstrap_holds_its_value_where_resampling_is_biased():
    p = np.tile(np.arange(0.05, 1, 0.1), 20)
    c = np.random.default_rng(1).random(200) < p
    e = m.bootstrap_interval(m.ece, p, c)
    assert e.low <= e.value <= e.high


def test_a_paired_difference_is_tighter_than_two_intervals():
    rng = np.random.default_rng(2)
    c = rng.random(300) < 0.5
    u = rng.normal(size=300) - c
    worse = u + 0.1 * rng.normal(size=300)
    d = m.bootstrap_difference(m.auroc, (u, c), (worse, c))
    single = m.bootstrap_interval(m.auroc, u, c)
    assert d.value == m.auroc(u, c) - m.auroc(worse, c)
    assert d.high - d.low < (single.high - single.low) / 2
    same = m.bootstrap_difference(m.auroc, (u, c), (u, c))
    assert (same.value, same.low, same.high) == (0, 0, 0)


def test_draws_of_one_class_are_left_out_unless_they_are_most():
    assert m.bootstrap_interval(m.auroc, [1.0, 2.0, 3.0], [True, True, False]).value == 1

    def only_whole(c):
        if len(set(c)) < 3:
            raise CalibrationError("undefined")
        return 1.0

    with pytest.raises(CalibrationError, match=r"undefined on .* of 1000 draws from 3 rows"):
        m.bootstrap_interval(only_whole, [1, 2, 3])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: m.auroc([1.0, 2.0], [True, True]), "all right"),
        (lambda: m.prr([1.0, 2.0], [True, True]), "PRR needs right and wrong answers; these 2 are all right"),
        (lambda: m.auroc([1.0], [True, False]), "one value for each"),
        (lambda: m.aurc([np.nan, 1.0], [True, False]), "not finite"),
        (lambda: m.accuracy([]), "at least one"),
        (lambda: m.brier([0.5, 1.5], [True, False]), "lie in"),
        (lambda: m.ece([0.5, 0.5], [1, 0]), "boolean"),
        (lambda: m.wilson_interval(0, 0), "no share"),
        (lambda: m.wilson_interval(1, 2, level=95), "level"),
        (lambda: m.bootstrap_interval(m.accuracy, [True], n=0), "n >= 1"),
        (lambda: m.bootstrap_interval(m.auroc, [1.0], [True, False]), "one length"),
    ],
)
def test_undefined_cases_raise(call, message):
    with pytest.raises(CalibrationError, match=message):
        call()
