"""Bounds against hand-computed values and against another library; the promise, in simulation; the search's properties."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mapie.risk_control import control_fwer
from scipy.stats import binom

from guardrail.calibration.isotonic import IsotonicCalibrator
from guardrail.calibration.risk import (
    START_COVERAGES,
    Plan,
    fewest_answers,
    plan_from,
    risk_controlled_threshold,
    upper_bound,
)
from guardrail.errors import CalibrationError

REPETITIONS = 3000
CELLS = 32
THRESHOLDS = tuple(1 - (i + 1) / (CELLS + 1) for i in range(CELLS))
STARTS = tuple(0.25 if (i + 1) / CELLS in START_COVERAGES else 0.0 for i in range(CELLS))
PLAN = Plan(THRESHOLDS, STARTS)


@pytest.mark.parametrize(
    ("errors", "n", "level", "bound"),
    [
        (0, 1, 0.05, 0.95),  # (1 - u) = 0.05
        (0, 2, 0.04, 0.8),  # (1 - u)^2 = 0.04
        (0, 29, 0.05, 1 - 0.05 ** (1 / 29)),
        (1, 2, 0.19, 0.9),  # 1 - u^2 = 0.19
        (2, 3, 0.271, 0.9),  # 1 - u^3 = 0.271
        (1, 10, 0.05, 0.3941633),  # a table's value: one-sided 95 %, 1 of 10
        (5, 5, 0.05, 1.0),
        (0, 0, 0.05, 1.0),
    ],
)
def test_upper_bound(errors: int, n: int, level: float, bound: float) -> None:
    assert upper_bound(errors, n, level) == pytest.approx(bound, abs=1e-7)


@given(st.integers(1, 400).flatmap(lambda n: st.tuples(st.integers(0, n - 1), st.just(n))), st.floats(1e-4, 0.5))
def test_the_bound_is_where_so_few_errors_have_that_probability(counts: tuple[int, int], level: float) -> None:
    bound = upper_bound(*counts, level)
    assert binom.cdf(*counts, bound) == pytest.approx(level, rel=1e-6)
    assert counts[0] / counts[1] < bound < 1


def test_fewest_answers() -> None:
    assert fewest_answers(0.1, 0.05) == 29
    assert upper_bound(0, 29, 0.05) <= 0.1 < upper_bound(0, 28, 0.05)


def test_levels_and_counts_by_hand() -> None:
    """Two starts, 0.05 each: the first passes and hands on; the third fails with both shares; the last has nothing left."""
    plan = Plan((0.9, 0.7, 0.5, 0.3), (0.5, 0.0, 0.5, 0.0))
    p = np.repeat([0.95, 0.9, 0.7, 0.6, 0.3], [20, 20, 20, 40, 30])  # 0.9 and 0.7 tie with a threshold: they are in
    wrong = np.zeros(130, dtype=bool)
    wrong[[0, 40, *range(60, 100)]] = True
    found = risk_controlled_threshold(p, ~wrong, max_error=0.15, confidence=0.9, plan=plan, questions=200)
    assert [(t.threshold, t.n, t.errors, t.passed) for t in found.tests] == [
        (0.9, 40, 1, True),
        (0.7, 60, 2, True),
        (0.5, 100, 42, False),
    ]
    assert [t.level for t in found.tests] == pytest.approx([0.05, 0.05, 0.1])
    assert found.chosen == found.tests[1]
    assert found.tests[1].bound == upper_bound(2, 60, found.tests[1].level)
    coverage = found.coverage(found.tests[1])
    assert coverage.value == 0.3
    assert coverage.low < 0.3 < coverage.high
    refused = risk_controlled_threshold(p, ~wrong, max_error=0.01, confidence=0.9, plan=plan)
    assert refused.chosen is None
    assert [t.threshold for t in refused.tests] == [0.9, 0.5], "a start that fails does not end the next one's sequence"
    assert refused.best.bound == min(t.bound for t in refused.tests)


def rising(low: float, high: float) -> np.ndarray:
    return np.linspace(low, high, CELLS)


def zigzag() -> np.ndarray:
    """Just above the target at every start and thereafter good, so that each start is a trap."""
    error, total = np.zeros(CELLS), 0.0
    for i in range(CELLS):
        error[i] = np.clip(0.1001 * (i + 1) - total, 0, 1) if STARTS[i] else 0.02
        total += error[i]
    return error


TRUTHS = {
    "flat, a hair above the target": (np.full(CELLS, 0.1 + 1e-9), 600),
    "rising": (rising(0.02, 0.5), 600),
    "rising, little data": (rising(0.0, 0.3), 60),
    "crosses at the first start": (np.where(np.arange(CELLS) < 2, 0.1 + 1e-9, 0.9), 900),
    "crosses at the third start": (np.where(np.arange(CELLS) < 8, 0.1 + 1e-9, 0.9), 900),
    "the surest are the worst": (np.concatenate([np.full(2, 0.4), np.full(18, 0.0), np.full(12, 0.3)]), 700),
    "a trap at every start": (zigzag(), 800),
}


def draws(error: np.ndarray, n: int, seed: int):
    """Tuning sets: cells of equal probability, so scores have ties; p_correct is the cell's threshold."""
    rng = np.random.default_rng(seed)
    cells = rng.integers(0, CELLS, (REPETITIONS, n))
    return np.array(THRESHOLDS)[cells], rng.random((REPETITIONS, n)) >= error[cells]


@pytest.mark.parametrize("truth", TRUTHS)
def test_the_promise_holds(truth: str) -> None:
    """Over 3,000 tuning sets the true error rate at the chosen threshold is above the target at most as often as promised."""
    error, n = TRUTHS[truth]
    true_risk = dict(zip(THRESHOLDS, np.cumsum(error) / np.arange(1, CELLS + 1), strict=True))
    violations = 0
    for p, correct in zip(*draws(error, n, seed=len(truth)), strict=True):
        chosen = risk_controlled_threshold(p, correct, max_error=0.1, confidence=0.9, plan=PLAN).chosen
        violations += chosen is not None and true_risk[chosen.threshold] > 0.1
    assert violations <= binom.ppf(0.999, REPETITIONS, 0.1)


def test_the_budget_is_spent() -> None:
    """One start at a set just above the target uses the whole budget: the promise is kept, and not by a wide margin."""
    p, correct = draws(np.full(CELLS, 0.1 + 1e-9), 600, seed=2)
    plan = Plan(THRESHOLDS[15:], (1.0, *[0.0] * (CELLS - 16)))
    broken = sum(
        risk_controlled_threshold(row, right, max_error=0.1, confidence=0.9, plan=plan).chosen is not None
        for row, right in zip(p, correct, strict=True)
    )
    assert 0.07 * REPETITIONS < broken <= binom.ppf(0.999, REPETITIONS, 0.1)


def test_the_simulation_can_tell_a_search_without_a_guarantee() -> None:
    """Testing every threshold at the full level, and taking the laxest that passes, breaks the promise in the same draws."""
    p, correct = draws(np.full(CELLS, 0.1 + 1e-9), 600, seed=1)
    violations = 0
    for row, right in zip(p[:1000], correct[:1000], strict=True):
        answered = (row[:, None] >= np.array(THRESHOLDS)).sum(axis=0)
        errors = ((row[:, None] >= np.array(THRESHOLDS)) & ~right[:, None]).sum(axis=0)
        violations += bool((binom.cdf(errors, answered, 0.1) <= 0.1).any())
    assert violations > binom.ppf(0.999, 1000, 0.1)


@pytest.mark.parametrize(
    ("error", "n", "at_least"),
    [(rising(0.0, 0.1), 600, 0.95), (rising(0.0, 0.4), 1300, 0.25), (np.full(CELLS, 0.05), 600, 0.7)],
)
def test_it_answers_where_it_can(error: np.ndarray, n: int, at_least: float) -> None:
    found = [
        risk_controlled_threshold(p, c, max_error=0.1, confidence=0.95, plan=PLAN)
        for p, c in zip(*(rows[:200] for rows in draws(error, n, seed=7)), strict=True)
    ]
    assert np.mean([f.chosen.n / n if f.chosen else 0.0 for f in found]) > at_least


def test_one_start_agrees_with_mapie() -> None:
    """Its fixed-sequence procedure, on scipy's binomial p-values instead of bounds."""
    thresholds = np.array(THRESHOLDS[3:])
    plan = Plan(tuple(thresholds), (1.0, *[0.0] * (len(thresholds) - 1)))
    answered = set()
    p, correct = draws(rising(0.02, 0.3), 500, seed=3)
    for row, right in zip(p[:200], correct[:200], strict=True):
        ours = risk_controlled_threshold(row, right, max_error=0.1, confidence=0.9, plan=plan)
        above = row[:, None] >= thresholds
        p_values = binom.cdf((above & ~right[:, None]).sum(axis=0), above.sum(axis=0), 0.1)
        theirs = control_fwer(p_values, 1 - 0.9, "fixed_sequence")
        assert [t.threshold for t in ours.tests if t.passed] == thresholds[theirs].tolist()
        answered.add(ours.chosen is not None)
    assert answered == {True, False}, "the comparison must see both outcomes"


tuning_sets = st.integers(1, 200).flatmap(
    lambda n: st.tuples(
        st.lists(st.sampled_from((*THRESHOLDS, 0.0, 0.5, 1.0)), min_size=n, max_size=n),
        st.lists(st.booleans(), min_size=n, max_size=n),
    )
)


@settings(deadline=None)
@given(tuning_sets, st.floats(0.01, 0.98), st.floats(0.01, 0.98), st.floats(0.5, 0.99))
def test_a_laxer_target_answers_no_less(
    data: tuple[list[float], list[bool]], one: float, other: float, confidence: float
) -> None:
    p, correct = np.array(data[0]), np.array(data[1])
    found = [
        risk_controlled_threshold(p, correct, max_error=r, confidence=confidence, plan=PLAN)
        for r in sorted((one, other))
    ]
    strict, lax = (f.chosen.threshold if f.chosen else math.inf for f in found)
    assert lax <= strict
    for control in found:
        for test in control.tests:
            above = p >= test.threshold
            assert (test.n, test.errors) == (above.sum(), (above & ~correct).sum())
            assert 0 < test.level <= (1 - confidence) * (1 + 1e-9)
            assert test.passed == (test.bound <= control.max_error)


@settings(deadline=None)
@given(tuning_sets, st.randoms())
def test_the_order_of_rows_does_not_matter(data: tuple[list[float], list[bool]], random: object) -> None:
    rows = list(zip(*data, strict=True))
    random.shuffle(rows)  # type: ignore[attr-defined]
    options = {"max_error": 0.3, "confidence": 0.8, "plan": PLAN}
    shuffled = risk_controlled_threshold([p for p, _ in rows], [c for _, c in rows], **options)
    assert shuffled == risk_controlled_threshold(*data, **options)


def test_the_plan_comes_from_the_calibrator_alone() -> None:
    rng = np.random.default_rng(0)
    scores = rng.random(800)
    calibrator = IsotonicCalibrator().fit(scores, rng.random(800) > scores)
    plan = plan_from(calibrator.blocks)
    assert list(plan.thresholds) == sorted(set(plan.thresholds), reverse=True)
    assert [round(s * 4) for s in plan.shares if s] == [1, 1, 1, 1]
    p = calibrator.probabilities(scores)
    starts = [t for t, share in zip(plan.thresholds, plan.shares, strict=True) if share]
    shares = [float((p >= t).mean()) for t in starts]
    assert shares == pytest.approx(START_COVERAGES, abs=0.02), "a start answers the share that it is meant to"
    assert (p >= plan.thresholds[-1]).all()


def test_a_flat_calibrator_has_one_threshold() -> None:
    scores = np.arange(100.0)
    calibrator = IsotonicCalibrator().fit(scores, (np.arange(100) % 2).astype(bool))
    plan = plan_from(calibrator.blocks)
    assert sum(plan.shares) == 1
    assert len(plan.thresholds) <= 3


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: upper_bound(3, 2, 0.1), "3 errors among 2 answers"),
        (lambda: upper_bound(0, 2, 1.0), "a level lies between 0 and 1"),
        (lambda: Plan((0.5, 0.6), (1.0, 0.0)), "must fall"),
        (lambda: Plan((0.5,), (0.5,)), "sum to 0.5"),
        (lambda: Plan((), ()), "0 thresholds"),
        (lambda: control(max_error=0.0), "max_error is 0"),
        (lambda: control(confidence=1.0), "confidence is 1"),
        (lambda: control(max_error=math.nan), "max_error is nan"),
        (lambda: control(questions=1), "2 answers to 1 questions"),
        (lambda: control(p=[math.nan, 0.5]), "not finite"),
        (lambda: control(p=[1.5, 0.5]), "lie in"),
        (lambda: control(p=[], correct=[]), "at least one boolean"),
        (lambda: control(correct=[1, 0]), "must be boolean"),
    ],
)
def test_bad_arguments(call, says: str) -> None:
    with pytest.raises(CalibrationError, match=says):
        call()


def control(p=(0.9, 0.5), correct=(True, False), **options):
    return risk_controlled_threshold(
        p, correct, **{"max_error": 0.1, "confidence": 0.9, "plan": Plan((0.5,), (1.0,))} | options
    )
