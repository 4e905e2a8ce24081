"""All resamples at once against one by one, intervals that hold what they promise, and scores told apart or not."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guardrail.calibration.metrics import aurc, auroc, prr
from guardrail.calibration.resampling import METRICS, compare, drawn, ranking_of
from guardrail.errors import CalibrationError

answers = st.lists(st.tuples(st.integers(-4, 4), st.booleans(), st.integers(0, 3)), min_size=2, max_size=40)


@settings(max_examples=150, deadline=None)
@given(answers)
def test_the_metrics_of_a_resample_are_those_of_the_answers_so_repeated(rows):
    u, c, times = (np.array(column) for column in zip(*rows, strict=True))
    rng = np.random.default_rng(0)
    counts = np.stack([times, rng.permutation(times), rng.permutation(times)])
    both = [set(np.repeat(c, row)) == {True, False} for row in counts]
    counts = counts[both]
    if not len(counts):
        return
    found = ranking_of(u.astype(float), c, counts)
    for b, row in enumerate(counts):
        again = np.repeat(np.arange(len(u)), row)
        for metric, value in zip((auroc, aurc, prr), found, strict=True):
            assert value[b] == pytest.approx(metric(u[again].astype(float), c[again]), abs=1e-9)


@pytest.mark.parametrize("stratified", [True, False])
def test_draws_are_as_many_answers_and_have_both_kinds(stratified):
    c = np.arange(50) < 3  # three right ones: a plain draw has none in one case of twenty
    blocks = list(drawn(c, 900, 0, stratified=stratified))
    counts = np.concatenate(blocks)
    assert counts.shape == (900, 50)
    assert (counts.sum(1) == 50).all()
    right = counts[:, c].sum(1)
    assert (right == 3).all() if stratified else (set(right) >= {1, 2, 3, 4, 5} and right.min() > 0)
    assert (counts.mean(0) == pytest.approx(1, abs=0.2)) or not stratified


def sample(rng, n, p=0.5):
    c = rng.random(n) < p
    return rng.normal(size=n) - 0.8 * c, c


def test_intervals_hold_the_truth_about_as_often_as_they_say():
    """120 data sets of 150 answers: 0.95, give or take 0.04; stratified draws would hold AURC's in 77 %."""
    rng = np.random.default_rng(0)
    u, c = sample(rng, 1_000_000, 0.4)
    truth = {"auroc": auroc(u, c), "aurc": aurc(u, c), "prr": prr(u, c)}
    held = dict.fromkeys(METRICS, 0)
    for k in range(120):
        u, c = sample(rng, 150, 0.4)
        found = compare({"u": u}, c, draws=200, seed=k).metrics["u"]
        for metric in METRICS:
            held[metric] += found[metric].low <= truth[metric] <= found[metric].high
    assert all(0.88 <= times / 120 <= 0.99 for times in held.values()), held


def test_a_difference_is_paired():
    rng = np.random.default_rng(1)
    u, c = sample(rng, 300)
    near = u + 0.1 * rng.normal(size=300)
    found = compare({"u": u, "near": near, "same": u}, c)
    for metric, of in zip(METRICS, (auroc, aurc, prr), strict=True):
        d = found.difference("u", "near", metric)
        assert d.value == pytest.approx(of(u, c) - of(near, c))
        assert d.low <= d.value <= d.high
        own = found.metrics["u"][metric]
        assert d.high - d.low < (own.high - own.low) / 2
        assert found.difference("u", "same", metric).high == 0
    assert d.n == 300


def test_what_is_far_apart_is_told_apart_and_what_is_not_is_not():
    rng = np.random.default_rng(2)
    u, c = sample(rng, 600)
    noise = rng.normal(size=600)
    found = compare({"noise": noise, "good": u, "copy": u + 0.01 * rng.normal(size=600), "flat": np.zeros(600)}, c)
    assert found.best in ("good", "copy")
    assert set(found.inseparable("good")) == {"copy"}
    assert set(found.inseparable("noise")) == {"flat"}
    assert compare({"u": u}, c).inseparable("u") == ()


def test_of_scores_without_any_difference_the_best_is_rarely_called_separable():
    """Twelve scores of pure noise: an interval of its own for each would call some pair different nearly always."""
    rng, called = np.random.default_rng(3), 0
    for k in range(30):
        c = rng.random(120) < 0.5
        found = compare({str(i): rng.normal(size=120) for i in range(12)}, c, draws=200, seed=k)
        called += len(found.inseparable(found.best)) < 11
    assert called <= 5, called  # 0.05 * 30 = 1.5 expected; more than 5 has probability 0.003


def test_fourteen_scores_of_500_answers_take_seconds():
    rng = np.random.default_rng(4)
    u, c = sample(rng, 500)
    scores = {str(i): u + rng.normal(size=500) for i in range(14)}
    start = time.thread_time()
    found = compare(scores, c)
    assert time.thread_time() - start < 30
    assert found.draws["auroc"].shape == (14, 1000)


def test_mistakes():
    with pytest.raises(CalibrationError, match="all right"):
        compare({"u": [1.0, 2.0]}, [True, True])
    with pytest.raises(CalibrationError, match="not finite"):
        compare({"u": [1.0, np.nan]}, [True, False])
    with pytest.raises(CalibrationError, match="at least one score and one draw"):
        compare({}, [True, False])
    with pytest.raises(CalibrationError, match="level"):
        compare({"u": [1.0, 2.0]}, [True, False], level=95)
