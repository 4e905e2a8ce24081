"""False alarms and power of `guardrail monitor`, by simulation: python -m tests.benchmarks.monitoring

Prints the tables of docs/results/monitor.md. A calibration of n answers is drawn and a calibrator fitted; a log is drawn from
the same population or from a shifted one; every test is made as `monitor` makes it.
"""

from __future__ import annotations

import sys

import numpy as np

from guardrail.calibration.isotonic import IsotonicCalibrator
from guardrail.calibration.metrics import wilson_interval
from guardrail.monitoring.calibration_drift import calibration_drift
from guardrail.monitoring.conclusion import holm
from guardrail.monitoring.reference import Reference
from guardrail.monitoring.score_drift import score_drift

ALPHA = 0.05


def right(score, slope=1.5, at_zero=0.0):
    """P(right) at a score."""
    return 1 / (1 + np.exp(slope * score - at_zero))


def one(rng, *, n, log, labels, slope=1.5, shift=0.0, worse=0.0, steeper=1.0, ties=None, draws=199):
    """The corrected p-values of one log. shift: of the scores, in standard deviations. worse: of the log odds of being
    right. steeper: factor on their slope. ties: distinct scores; None: all are distinct."""

    def scores(size, by=0.0):
        drawn = rng.normal(size=size) + by
        return drawn if ties is None else np.round(drawn * ties / 6) * 6 / ties

    calibration = scores(n)
    while True:
        correct = rng.random(n) < right(calibration, slope)
        if 5 <= correct.sum() <= n - 5:
            break
    fitted = IsotonicCalibrator().fit(calibration, correct, metrics={})
    reference = Reference.of(fitted)
    seen = scores(log, shift)
    low, high = fitted.score_range
    seed = int(rng.integers(2**32))
    found = score_drift(
        reference,
        reference.cells(seen),
        wilson_interval(int(((seen < low) | (seen > high)).sum()), log),
        draws=draws,
        seed=seed,
    )
    tests = {"scores": found.p_value, "outside": found.outside_p_value}
    if labels:
        some = seen[:labels]
        known = rng.random(labels) < right(some, slope * steeper, -worse)
        p = fitted.probabilities(some)
        drift = calibration_drift(reference, some, p, known, draws=draws, resamples=10, seed=seed)
        tests["gap"] = drift.gap_p_value
        if drift.slope_p_value is not None:
            tests["slope"] = drift.slope_p_value
    return tests


def rates(times, seed=0, **options):
    """Share of logs in which each test, by itself and uncorrected, says drift; `any`: one of them after correction."""
    rng = np.random.default_rng(seed)
    alarms: dict[str, float] = {}
    for _ in range(times):
        tests = one(rng, **options)
        for name, p in tests.items():
            alarms[name] = alarms.get(name, 0) + (p <= ALPHA)
        alarms["any"] = alarms.get("any", 0) + (min(holm(tests).values()) <= ALPHA)
    return {name: count / times for name, count in alarms.items()}


CASES = {
    "none, n 100, log 300": {"n": 100, "log": 300, "labels": 150},
    "none, n 500, log 500": {"n": 500, "log": 500, "labels": 250},
    "none, n 500, log 5000": {"n": 500, "log": 5000, "labels": 1000},
    "none, flat truth": {"n": 300, "log": 500, "labels": 250, "slope": 0.3},
    "none, 12 distinct scores": {"n": 300, "log": 500, "labels": 250, "ties": 12},
    "scores + 0.2 sd": {"n": 1000, "log": 500, "labels": 250, "shift": 0.2},
    "scores + 0.35 sd, 150 in the log": {"n": 1000, "log": 150, "labels": 0, "shift": 0.35},
    "scores + 0.35 sd": {"n": 1000, "log": 500, "labels": 250, "shift": 0.35},
    "log odds of right - 0.5": {"n": 1000, "log": 500, "labels": 250, "worse": 0.5},
    "log odds of right - 0.5, 500 labels": {"n": 1000, "log": 500, "labels": 500, "worse": 0.5},
    "score says half as much": {"n": 1000, "log": 500, "labels": 250, "steeper": 0.5},
    "score says nothing": {"n": 1000, "log": 500, "labels": 250, "steeper": 0.0},
}

if __name__ == "__main__":
    times = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    for title, options in CASES.items():
        found = ", ".join(f"{name} {rate:.3f}" for name, rate in rates(times, **options).items())
        print(f"{title:38} {found}", flush=True)
