"""Thresholds on claims: by hand, against the conformal quantile as it is written, and the promises in simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from guardrail.calibration.claim_risk import claim_risk_threshold, conformal_bound
from guardrail.calibration.risk import upper_bound
from guardrail.errors import CalibrationError

REPETITIONS = 4000
GRID = tuple(k / 20 for k in range(20, 0, -1))
# Claims of an answer are alike: each answer has a quality, which all of its claims share.
TRUTHS = {
    "honest": lambda p, quality: p,
    "flat, a hair too many": lambda p, quality: np.full_like(p, 1 - 0.1001),
    "boasts": lambda p, quality: p**4,
    "the surest are the worst": lambda p, quality: 1 - 0.5 * p,
    "whole answers go wrong": lambda p, quality: np.where(quality[..., None] < 0.12, 0.0, 0.995),
}


def test_by_hand() -> None:
    """Three answers with wrong claims at 0.9, 0.6 and 0.3, and 57 with none; ties with a threshold are kept."""
    p = [0.95, 0.9, 0.8, 0.6, 0.3, 0.3, *[0.99] * 10]
    correct = [True, False, True, False, False, False, *[True] * 10]
    answer = [0, 0, 1, 1, 2, 2, *range(3, 13)]
    arguments = {"answers": 60, "thresholds": (0.95, 0.9, 0.6, 0.3)}
    found = claim_risk_threshold(p, correct, answer, all_right=0.9, confidence=0.95, **arguments)
    assert [(t.threshold, t.kept, t.errors, t.passed) for t in found.tests] == [
        (0.95, 11, 0, True),
        (0.9, 12, 1, True),
        (0.6, 14, 2, False),  # 2 of 60: bound 0.1008
    ]
    assert [t.bound for t in found.tests] == [upper_bound(k, 60, 1 - 0.95) for k in (0, 1, 2)]
    assert found.chosen == found.tests[1]
    average = claim_risk_threshold(p, correct, answer, all_right=0.95, confidence=None, **arguments)
    assert [(t.errors, t.bound, t.passed) for t in average.tests] == [
        (0, 1 / 61, True),
        (1, 2 / 61, True),
        (2, 3 / 61, True),
        (3, 4 / 61, False),
    ]
    assert average.chosen == average.tests[2]


def test_what_keeps_nothing_promises_nothing() -> None:
    """Every kept claim is wrong: the strictest threshold, which keeps none, passes, and is no result."""
    arguments = {"answers": 100, "all_right": 0.9, "thresholds": (0.9, 0.5)}
    found = claim_risk_threshold([0.6] * 40, [False] * 40, range(40), confidence=0.95, **arguments)
    assert [t.passed for t in found.tests] == [True, False]
    assert found.chosen is None
    assert (found.best.threshold, found.best.errors) == (0.5, 40)
    few = claim_risk_threshold([0.9] * 28, [True] * 28, range(28), confidence=0.95, **(arguments | {"answers": 28}))
    assert few.chosen is None  # 29 without an error would be the fewest
    assert not few.tests[0].passed


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"all_right": 1.0}, "all_right is 1; it must lie between 0 and 1"),
        ({"confidence": 0.0}, "confidence is 0"),
        ({"thresholds": (0.5, 0.5)}, "thresholds must fall"),
        ({"thresholds": ()}, "thresholds must fall"),
        ({"answers": 1}, "more than 1 answers"),
        ({"p_correct": [0.5, math.nan]}, "not finite"),
        ({"p_correct": [0.5, 1.5]}, r"lie in \[0, 1\]"),
    ],
)
def test_what_cannot_be_used(changes, message) -> None:
    arguments = {"p_correct": [0.5, 0.6], "correct": [True, False], "answer": [0, 1], "answers": 2, "all_right": 0.9,
                 "confidence": 0.95, "thresholds": (0.9, 0.5)} | changes  # fmt: skip
    with pytest.raises(CalibrationError, match=message):
        claim_risk_threshold(**arguments)


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.tuples(st.integers(0, 9), st.integers(1, 100), st.booleans()), min_size=1, max_size=40),
    st.sampled_from([0.5, 0.8, 0.9]),
)
def test_the_average_is_the_conformal_quantile(claims, all_right) -> None:
    """The threshold is the first of the grid above the ceil((n + 1) * all_right)-th smallest score, as the paper has it."""
    answer, p, correct = (np.array(column) for column in zip(*claims, strict=True))
    grid = tuple(k / 100 for k in range(101, 0, -1))
    n, p = 10, p / 100
    found = claim_risk_threshold(p, correct, answer, answers=n, all_right=all_right, confidence=None, thresholds=grid)
    scores = sorted(max([q for a, q, right in zip(answer, p, correct, strict=True) if a == i and not right], default=0)
                    for i in range(n))  # fmt: skip
    place = math.ceil((n + 1) * all_right - 1e-9)
    passed = [t.threshold for t in found.tests if t.passed]
    if place > n:
        assert passed == []
    else:
        assert passed[-1] == next(t for t in reversed(grid) if t > scores[place - 1])


def draws(truth: str, n: int, seed: int):
    """n answers of one to four claims, many times over: p, whether right, whether there, (REPETITIONS, n, 4) each."""
    rng = np.random.default_rng(seed)
    there = np.arange(4) < rng.integers(1, 5, (REPETITIONS, n, 1))
    p = np.ceil(rng.random((REPETITIONS, n, 4)) * 20) / 20  # cells of the grid, so that there are ties
    quality = rng.random((REPETITIONS, n))
    return p, rng.random(p.shape) < TRUTHS[truth](p, quality), there


def true_loss(truth: str) -> dict[float, float]:
    """Probability that an answer keeps a wrong claim, by threshold, from a million answers."""
    rng = np.random.default_rng(7)
    there = np.arange(4) < rng.integers(1, 5, (250_000, 1))
    p = np.ceil(rng.random((250_000, 4)) * 20) / 20
    wrong = there & (rng.random(p.shape) >= TRUTHS[truth](p, rng.random(250_000)))
    worst = np.where(wrong, p, 0).max(1)
    return {t: float((worst >= t).mean()) for t in GRID}


def worst_claims(truth: str, n: int, seed: int):
    p, right, there = draws(truth, n, seed)
    return np.where(there & ~right, p, 0).max(2)  # (REPETITIONS, n)


def chosen_by(worst, passes):
    """The laxest threshold before the first that fails, of many draws at once; 2 where none passes."""
    lost = (worst[:, :, None] >= np.array(GRID)).sum(1)  # (REPETITIONS, thresholds)
    passed = np.logical_and.accumulate(passes(lost), axis=1).sum(1)
    return np.where(passed > 0, np.array(GRID)[np.maximum(passed, 1) - 1], 2.0)


def exactly(n: int, confidence: float):
    bounds = np.array([upper_bound(k, n, 1 - confidence) for k in range(n + 1)])
    return lambda lost: bounds[lost] <= 0.1


@pytest.mark.parametrize("truth", TRUTHS)
@pytest.mark.parametrize("n", [60, 300])
def test_the_promise_holds(truth: str, n: int) -> None:
    """Over 4,000 draws the true loss at the chosen threshold is above 10 % at most as often as promised."""
    worst, loss = worst_claims(truth, n, seed=n), true_loss(truth)
    chosen = chosen_by(worst, exactly(n, 0.9))
    violations = sum(t < 2 and loss[t] > 0.1 + 0.002 for t in chosen.tolist())
    assert violations <= binom.ppf(0.999, REPETITIONS, 0.1)


def test_the_simulation_uses_what_ships() -> None:
    """The vectorised search above finds what `claim_risk_threshold` finds."""
    p, right, there = draws("honest", 60, seed=5)
    worst = np.where(there & ~right, p, 0).max(2)
    average = chosen_by(worst, lambda lost: conformal_bound(lost, 60) <= 0.1 + 1e-12)
    bounded = chosen_by(worst, exactly(60, 0.9))
    for i in range(40):
        at, answer = there[i], np.broadcast_to(np.arange(60)[:, None], (60, 4))
        for confidence, expected in ((None, average[i]), (0.9, bounded[i])):
            found = claim_risk_threshold(
                p[i][at], right[i][at], answer[at], answers=60, all_right=0.9, confidence=confidence, thresholds=GRID
            )
            passed = [t.threshold for t in found.tests if t.passed]
            assert (passed[-1] if passed else 2.0) == expected


@pytest.mark.parametrize("truth", TRUTHS)
def test_the_average_holds(truth: str) -> None:
    """Split conformal factuality: over draws and a new answer each, that is lost at most every tenth time."""
    n = 60
    chosen = chosen_by(worst_claims(truth, n, seed=3), lambda lost: conformal_bound(lost, n) <= 0.1 + 1e-12)
    lost = worst_claims(truth, 5, seed=4) >= chosen[:, None]  # five new answers for each draw
    assert lost.mean() <= 0.1 + 3 * 0.3 / math.sqrt(REPETITIONS)


@pytest.mark.parametrize("truth", ["honest", "boasts"])
def test_the_simulation_can_tell_a_choice_without_a_guarantee(truth: str) -> None:
    """The laxest threshold at which at most 10 % of these answers are lost: too lax about every second time."""
    worst, loss = worst_claims(truth, 60, seed=60), true_loss(truth)
    chosen = chosen_by(worst, lambda lost: lost / 60 <= 0.1)
    violations = sum(t < 2 and loss[t] > 0.1 for t in chosen.tolist())
    assert violations > 2 * binom.ppf(0.999, REPETITIONS, 0.1)


def test_the_simulation_can_tell_an_average_without_a_guarantee() -> None:
    """Without the new answer's own place in the quantile, on few answers, more than a tenth are lost."""
    n = 10
    chosen = chosen_by(worst_claims("honest", n, seed=3), lambda lost: lost / n <= 0.1 + 1e-12)
    lost = worst_claims("honest", 5, seed=4) >= chosen[:, None]
    assert lost.mean() > 0.1 + 3 * 0.3 / math.sqrt(REPETITIONS)
