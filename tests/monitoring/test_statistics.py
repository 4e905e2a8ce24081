"""The statistics of monitoring against hand-made cases, scipy, a slow reference, and simulated false alarms."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.stats import betabinom, binomtest

from guardrail.calibration.isotonic import IsotonicCalibrator
from guardrail.calibration.metrics import wilson_interval
from guardrail.calibration.pooling import fitted_probabilities
from guardrail.calibration.sketch import Sketch, points_of, sketch_of
from guardrail.monitoring.calibration_drift import calibration_drift, design_effect, refitted
from guardrail.monitoring.conclusion import SHIFT, holm, labels_needed, scores_needed
from guardrail.monitoring.realised_risk import at_least, exact_interval, realised_risk
from guardrail.monitoring.reference import Reference
from guardrail.monitoring.score_drift import beyond_by_chance, score_drift
from tests.benchmarks.monitoring import rates


@pytest.fixture(scope="module")
def reference():
    rng = np.random.default_rng(0)
    scores = rng.normal(size=400)
    return Reference.of(IsotonicCalibrator().fit(scores, rng.random(400) < 1 / (1 + np.exp(2 * scores)), metrics={}))


def test_a_sketch_is_the_empirical_distribution_function():
    assert sketch_of([3.0, 1.0, 1.0], unscored=2) == Sketch(scores=(1.0, 3.0), at_or_below=(2, 3), unscored=2)
    scores = np.random.default_rng(1).normal(size=1000)
    sketch = sketch_of(scores)
    assert len(sketch.scores) == 101
    assert all((scores <= s).sum() == n for s, n in zip(sketch.scores, sketch.at_or_below, strict=True))


@pytest.mark.parametrize("changes", [{"scores": (1.0, 1.0)}, {"at_or_below": (3, 2)}, {"at_or_below": (3,)}, {"n": 1}])
def test_a_sketch_that_is_none_is_refused(changes):
    with pytest.raises(ValueError, match=r"ascend|counts|Extra|extra"):
        Sketch.model_validate({"scores": (1.0, 2.0), "at_or_below": (1, 2)} | changes)


def test_blocks_tell_the_same_where_there_is_no_sketch():
    rng = np.random.default_rng(2)
    scores = rng.normal(size=300)
    fitted = IsotonicCalibrator().fit(scores, rng.random(300) < 1 / (1 + np.exp(2 * scores)), metrics={})
    points, counts = points_of(None, [(b.score, b.last, b.n) for b in fitted.blocks])
    assert [int((scores <= x).sum()) for x in points] == list(counts)
    assert counts[-1] == 300


def test_an_old_file_keeps_its_digest_and_a_new_one_its_sketch(tmp_path):
    scores = np.random.default_rng(3).normal(size=100)
    fitted = IsotonicCalibrator().fit(scores, scores < 0.3 * np.sin(40 * scores), metrics={}, unscored=4)
    record = fitted.to_dict()
    assert record["sketch"]["unscored"] == 4
    fitted.save(tmp_path / "c.json")
    assert IsotonicCalibrator.load(tmp_path / "c.json").digest == fitted.digest
    del record["sketch"], record["digest"]  # as earlier versions wrote it
    old = IsotonicCalibrator.from_dict(record)
    assert old.sketch is None
    assert "sketch" not in old.to_dict()
    assert old.digest != fitted.digest


def test_cells_hold_every_score_once(reference):
    scores = np.random.default_rng(4).normal(size=1000)
    cells = reference.cells(scores)
    assert cells.sum() == 1000
    assert cells[-1] == (scores > reference.points[-1]).sum()
    assert reference.cells(reference.points).tolist() == [1.0] * len(reference.points) + [0.0]
    assert np.unique(reference.groups()).tolist() == list(range(10))


def test_the_calibrations_own_scores_show_no_drift(reference):
    found = score_drift(reference, reference.counts, wilson_interval(0, 400))
    assert found.p_value > 0.99
    assert found.psi_raw == pytest.approx(0, abs=1e-12)
    assert found.psi.value == 0
    assert found.higher.value == pytest.approx(0.5)


def test_a_shift_has_the_size_of_scipys_mann_whitney(reference):
    rng = np.random.default_rng(5)
    scores = rng.normal(size=2000) + 0.5
    drawn, counts = reference.scores()
    found = score_drift(reference, reference.cells(scores), wilson_interval(0, 2000))
    exact = float((scores[:, None] > np.repeat(drawn, counts.astype(int))[None]).mean())
    assert found.higher.value == pytest.approx(exact, abs=0.003)
    assert found.higher.low > 0.5
    assert found.p_value == 1 / 2000
    assert found.psi.low > found.psi_by_chance


@pytest.mark.parametrize(("found", "n", "calibrated"), [(0, 10, 30), (1, 10, 30), (5, 200, 100), (40, 5000, 400)])
def test_beyond_by_chance_is_scipys_beta_binomial(found, n, calibrated):
    assert beyond_by_chance(found, n, calibrated) == pytest.approx(betabinom(n, 2, calibrated - 1).sf(found - 1))


@given(
    n=st.integers(40, 120),
    distinct=st.sampled_from([4, 20, 10**6]),
    seed=st.integers(0, 10**6),
)
@settings(deadline=None, max_examples=25)
def test_the_fast_fit_is_the_fit(n, distinct, seed):
    rng = np.random.default_rng(seed)
    scores = np.floor(rng.random(n) * distinct) / distinct
    correct = rng.random(n) < 1 - scores
    at = np.linspace(-0.1, 1.1, 50)
    values, member = np.unique(scores, return_inverse=True)
    counts, right = np.bincount(member).astype(float), np.bincount(member, weights=correct)
    assert np.allclose(refitted(values, counts, right, at), fitted_probabilities(scores, correct, at), atol=1e-12)


def test_calibration_drift_tells_what_is_wrong(reference):
    rng = np.random.default_rng(6)
    scores = rng.normal(size=600)
    p = reference.calibrator.probabilities(scores)
    as_said = calibration_drift(reference, scores, p, rng.random(600) < p, draws=199, resamples=10)
    assert min(as_said.gap_p_value, as_said.slope_p_value) > 0.05
    assert as_said.gap.low < 0 < as_said.gap.high
    worse = calibration_drift(reference, scores, p, rng.random(600) < p - 0.7 * p * (1 - p), draws=199, resamples=10)
    assert worse.gap_p_value <= 0.01
    assert worse.gap.high < 0
    assert worse.gap.value == pytest.approx(worse.seen - worse.said)
    blind = calibration_drift(reference, scores, p, rng.random(600) < p.mean(), draws=199, resamples=10)
    assert blind.slope_p_value <= 0.01
    assert blind.slope.high < 0.5


def test_the_slope_maximises_the_likelihood(reference):
    rng = np.random.default_rng(7)
    scores = rng.normal(size=500)
    p = reference.calibrator.probabilities(scores)
    correct = rng.random(500) < p
    found = calibration_drift(reference, scores, p, correct, draws=19, resamples=10)
    x = np.log(p / (1 - p))
    slow = minimize(lambda b: np.logaddexp(0, np.where(correct, -1, 1) * (b[0] + b[1] * x)).sum(), [0.0, 0.0], tol=1e-9)
    assert found.slope.value == pytest.approx(slow.x[1], rel=1e-4)
    q = 1 / (1 + np.exp(-(slow.x[0] + slow.x[1] * x)))
    design = np.stack([np.ones_like(x), x])
    information = (design * q * (1 - q)) @ design.T  # Fisher's, of both coefficients
    error = math.sqrt(np.linalg.inv(information)[1, 1])
    assert found.slope.high - found.slope.value == pytest.approx(1.959964 * error, rel=0.01)


def test_claims_of_one_answer_that_agree_count_as_one():
    residuals = np.array([0.5, 0.5, -0.5, -0.5])
    assert design_effect(residuals, np.array([0, 0, 1, 1])) == 2
    assert design_effect(residuals, np.arange(4)) == 1
    assert design_effect(residuals, np.array([0, 1, 0, 1])) == 1  # they cancel, and 1 is the least


@given(n=st.integers(1, 300), share=st.floats(0, 1), rate=st.floats(0.01, 0.99))
@settings(deadline=None, max_examples=40)
def test_exact_intervals_and_p_values_are_scipys(n, share, rate):
    errors = round(share * n)
    test = binomtest(errors, n, rate, alternative="greater")
    low, high = binomtest(errors, n).proportion_ci(0.95, method="exact")
    found = exact_interval(errors, n)
    assert (found.low, found.high) == pytest.approx((low, high), abs=1e-9)
    assert at_least(errors, n, rate) == pytest.approx(test.pvalue, rel=1e-6, abs=1e-12)


def test_a_promise_is_kept_broken_or_open():
    assert realised_risk("answered", 2, 200, 300, max_error=0.1).status(False) == "kept"
    broken = realised_risk("answered", 60, 200, 300, max_error=0.1)
    assert (broken.status(True), broken.more_labels) == ("broken", None)
    assert broken.p_value < 1e-9
    few = realised_risk("answered", 1, 20, 300, max_error=0.1)
    assert few.status(False) == "not known yet"
    total = 20 + few.more_labels
    assert (
        exact_interval(round(total / 20), total).high <= 0.1 < exact_interval(round((total - 1) / 20), total - 1).high
    )
    none = realised_risk("answered", 0, 0, 300, max_error=0.1)
    assert (none.error, none.p_value, none.status(False)) == (None, None, "not known yet")
    assert exact_interval(0, none.more_labels).high <= 0.1 < exact_interval(0, none.more_labels - 1).high
    assert realised_risk("shown", 1, 10, 10, max_error=0.1).more_labels is None  # at the promise itself: never
    assert realised_risk("shown", 1, 10, 10).status(False) is None


def test_holm_by_hand():
    assert holm({"a": 0.01, "b": 0.04, "c": 0.03}) == pytest.approx({"a": 0.03, "c": 0.06, "b": 0.06})
    assert holm({}) == {}


def test_what_is_needed_has_the_power_that_it_promises():
    n = scores_needed(1000, 0.05)
    z = 1.959964 + 0.841621
    assert pytest.approx(z * math.sqrt((1 / n + 1 / 1000) / 12), rel=0.01) == SHIFT
    assert scores_needed(30, 0.01) is None
    assert labels_needed(1000, 0.5, 0.05) > labels_needed(1000, 0.1, 0.05) > 0


def test_false_alarms_are_as_rare_as_promised():
    """At most 5 % of logs; at that rate 60 logs raise more than 8 alarms with probability 0.003. More: tests/benchmarks."""
    options = {"n": 80, "log": 120, "labels": 60, "draws": 99}
    assert rates(60, **options)["any"] * 60 <= 8


def test_a_shift_of_a_third_of_a_deviation_is_found():
    options = {"n": 500, "log": 400, "labels": 0, "draws": 199}
    assert rates(20, shift=0.35, **options)["any"] >= 0.8
