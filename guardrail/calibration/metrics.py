"""How well a score ranks and a probability is calibrated: AUROC, AURC, PRR, Brier, ECE, and intervals for them.

Knows nothing about models, scorers or calibrators. Arrays have shape (n,). `uncertainty` is higher where the model is
less sure; `p_correct` is a probability; `correct` is boolean. Where a metric is undefined (no rows; one class only,
for AUROC) it raises `CalibrationError`: no function here returns NaN.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtri  # not scipy.stats, which takes half a second to import

from guardrail.calibration.bootstrap import resampled, tail_of
from guardrail.calibration.labels import label_bounds
from guardrail.errors import CalibrationError

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Metric = Callable[..., float]

BINS = 10
"""Equal-width bins of `ece` and `reliability_table`: [0, 0.1), [0.1, 0.2), ... [0.9, 1]."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number with its interval, low <= value <= high, and the rows that it comes from."""

    value: float
    low: float
    high: float
    n: int


class RiskCoverage(NamedTuple):
    """One point for each distinct score, ascending; arrays of shape (distinct scores,).

    Answer where uncertainty <= threshold: that share (coverage) is answered, and that share of the answered is wrong
    (risk).
    """

    threshold: Floats
    coverage: Floats
    risk: Floats


class ReliabilityBin(NamedTuple):
    """Answers whose p_correct lies in [low, high).

    The mean they were given, and how often they were right (Wilson interval).
    """

    low: float
    high: float
    mean_p: float
    accuracy: Estimate


class BoundRisk(NamedTuple):
    """Answers whose p_correct is at least `bound`: their share of all, and the share of them that is wrong.

    Wilson intervals.
    """

    bound: float
    share: Estimate
    wrong: Estimate


class TopLabels(NamedTuple):
    """Answers labelled high or very high: their share of all, and their accuracy (None when there are none).

    Wilson intervals.
    """

    share: Estimate
    accuracy: Estimate | None


def accuracy(correct: ArrayLike) -> float:
    """Share of right answers, in [0, 1]."""
    return float(_labels(correct).mean())


def auroc(uncertainty: ArrayLike, correct: ArrayLike) -> float:
    """Probability that a wrong answer has a higher uncertainty than a right one, ties counted half; 0.5 = chance.

    Raises `CalibrationError` when all answers are right or all are wrong.
    """
    u, c = _aligned(uncertainty, correct)
    right = int(c.sum())
    wrong = len(c) - right
    if not right or not wrong:
        raise CalibrationError(
            f"AUROC needs right and wrong answers; these {len(c)} are all {'right' if right else 'wrong'}"
        )
    right_sorted = np.sort(u[c])
    below = np.searchsorted(right_sorted, u[~c], side="left")
    up_to = np.searchsorted(right_sorted, u[~c], side="right")
    return float((below + up_to).sum() / (2 * right * wrong))


def risk_coverage_curve(uncertainty: ArrayLike, correct: ArrayLike) -> RiskCoverage:
    """Coverage and risk at every threshold that a score allows; answers with equal scores come in together."""
    u, c = _aligned(uncertainty, correct)
    threshold, group = np.unique(u, return_inverse=True)
    answered = np.cumsum(np.bincount(group))
    wrong = np.cumsum(np.bincount(group, weights=~c))
    return RiskCoverage(threshold, answered / len(u), wrong / answered)


def aurc(uncertainty: ArrayLike, correct: ArrayLike) -> float:
    """Area under the risk-coverage curve, in [0, 1]; lower is better.

    The mean over k = 1..n of the error rate among the k least uncertain answers (Geifman, Uziel and El-Yaniv, 2019).
    Equal scores count as their average over all orders, not as the file happens to list them.
    """
    u, c = _aligned(uncertainty, correct)
    _, group, size = np.unique(u, return_inverse=True, return_counts=True)
    error_of_group = np.bincount(group, weights=~c) / size
    # The expected number of errors among the first j of a tied group is j times its error rate.
    errors = np.cumsum(np.repeat(error_of_group, size))
    return float((errors / np.arange(1, len(u) + 1)).mean())


def prr(uncertainty: ArrayLike, correct: ArrayLike) -> float:
    """Prediction rejection ratio, at most 1; higher is better: 1 = all wrong answers are rejected first, 0 = chance.

    The most uncertain answers are rejected one by one, and the error rate of those that are left is drawn over the number
    left, n..1. PRR is the area between the curve of rejecting at random, the error rate e, and this curve, divided by the area
    between that and the curve of an oracle: (e - AURC) / (e - AURC of the oracle) (Vashurin et al. 2025, arXiv 2406.15627,
    without its cut at half of the answers). Equal scores count as their average over all orders, as in `aurc`. It is negative
    where rejecting at random is better. Where rejected answers stay in the denominator (Malinin et al. 2021), right and wrong
    alone give 2 AUROC - 1, which says nothing new.

    Raises `CalibrationError` when all answers are right or all are wrong.
    """
    c = _labels(correct)
    right = int(c.sum())
    if right in (0, len(c)):
        raise CalibrationError(
            f"PRR needs right and wrong answers; these {len(c)} are all {'right' if right else 'wrong'}"
        )
    error = 1 - right / len(c)
    return (error - aurc(uncertainty, c)) / (error - aurc(~c, c))


def brier(p_correct: ArrayLike, correct: ArrayLike) -> float:
    """Mean squared difference between probability and outcome, in [0, 1]; lower is better."""
    p, c = checked_probabilities(p_correct, correct)
    return float(((p - c) ** 2).mean())


def ece(p_correct: ArrayLike, correct: ArrayLike) -> float:
    """Expected calibration error: |accuracy - mean p| in each of 10 equal-width bins, weighted by its share.

    In [0, 1].
    """
    p, c = checked_probabilities(p_correct, correct)
    return float(np.abs(np.bincount(_bin_of(p), weights=c - p, minlength=BINS)).sum() / len(p))


def reliability_table(p_correct: ArrayLike, correct: ArrayLike) -> tuple[ReliabilityBin, ...]:
    """What `ece` sums, bin by bin, ascending; bins without answers are left out."""
    p, c = checked_probabilities(p_correct, correct)
    bins = _bin_of(p)
    return tuple(
        ReliabilityBin(
            float(b / BINS),
            float((b + 1) / BINS),
            float(p[bins == b].mean()),
            wilson_interval(int(c[bins == b].sum()), int((bins == b).sum())),
        )
        for b in np.unique(bins)
    )


def bound_risks(p_correct: ArrayLike, correct: ArrayLike) -> tuple[BoundRisk, ...]:
    """What a policy's bound on the confidence would show, for each of 0, 0.1, ... 0.9 that anything reaches.

    bound_risks([0.2, 0.7], [False, True])[3]   # at 0.3: one of two is shown, and is right
    """
    p, c = checked_probabilities(p_correct, correct)
    found = []
    for bound in np.arange(BINS) / BINS:
        n, wrong = int((p >= bound).sum()), int((~c[p >= bound]).sum())
        if n:
            found.append(BoundRisk(float(bound), wilson_interval(n, len(p)), wilson_interval(wrong, n)))
    return tuple(found)


def top_labels_share_and_accuracy(p_correct: ArrayLike, correct: ArrayLike) -> TopLabels:
    """How many answers are called high or very high, and how many of those are right."""
    p, c = checked_probabilities(p_correct, correct)
    top = p >= label_bounds("high")[0]
    n = int(top.sum())
    return TopLabels(wilson_interval(n, len(p)), wilson_interval(int(c[top].sum()), n) if n else None)


def wilson_interval(successes: int, n: int, level: float = 0.95) -> Estimate:
    """A share with Wilson's score interval, which stays inside [0, 1] and has width at 0 and n successes too."""
    if not 0 <= successes <= n or n < 1:
        raise CalibrationError(f"{successes} of {n} is no share; it needs 0 <= successes <= n and n >= 1")
    z = _normal_quantile(level)
    share = successes / n
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * float(np.sqrt(share * (1 - share) / n + z * z / (4 * n * n)))
    return Estimate(share, max(0.0, min(middle - half, share)), min(1.0, max(middle + half, share)), n)


def bootstrap_interval(
    metric: Metric,
    *arrays: ArrayLike,
    n: int = 1000,
    seed: int = 0,
    level: float = 0.95,
    groups: ArrayLike | None = None,
) -> Estimate:
    """`metric(*arrays)` with its percentile bootstrap interval: rows are drawn with replacement, n times.

    groups: (rows,), where rows come in clusters (the claims of one answer): whole clusters are then drawn, since rows of one
    are alike and the interval would otherwise be too narrow (Field and Welsh 2007, the cluster bootstrap).

    Draws for which the metric is undefined (one class only) are left out. The interval is widened to hold the value:
    a resample has more noise than the data, which pushes ECE up, so that its percentiles alone can lie above the
    estimate. Raises `CalibrationError` when the metric is undefined on the data or on more than half of the draws.
    """
    return Estimate(*resampled(lambda rows: metric(*rows), arrays, n, seed, level, groups))


def calibration_metrics(
    uncertainty: ArrayLike,
    p_correct: ArrayLike,
    correct: ArrayLike,
    *,
    seed: int = 0,
    groups: ArrayLike | None = None,
) -> dict[str, Estimate]:
    """The five figures of a calibrator: accuracy; auroc, aurc of the uncertainty; brier, ece of the probability.

    groups: clusters of rows, as for `bootstrap_interval`.
    """
    hits = _labels(correct)
    share = wilson_interval(int(hits.sum()), len(hits))
    return {
        "accuracy": share if groups is None else bootstrap_interval(accuracy, hits, seed=seed, groups=groups),
        "auroc": bootstrap_interval(auroc, uncertainty, correct, seed=seed, groups=groups),
        "aurc": bootstrap_interval(aurc, uncertainty, correct, seed=seed, groups=groups),
        "brier": bootstrap_interval(brier, p_correct, correct, seed=seed, groups=groups),
        "ece": bootstrap_interval(ece, p_correct, correct, seed=seed, groups=groups),
    }


def bootstrap_difference(
    metric: Metric,
    first: Sequence[ArrayLike],
    second: Sequence[ArrayLike],
    *,
    n: int = 1000,
    seed: int = 0,
    level: float = 0.95,
    groups: ArrayLike | None = None,
) -> Estimate:
    """`metric(*first) - metric(*second)`, paired: both are measured on the same drawn rows.

    As `bootstrap_interval` otherwise.
    """
    split = len(first)
    both = (*first, *second)
    drawn = resampled(lambda rows: metric(*rows[:split]) - metric(*rows[split:]), both, n, seed, level, groups)
    return Estimate(*drawn)


def _normal_quantile(level: float) -> float:
    return float(-ndtri(tail_of(level)))


def _bin_of(p: Floats) -> NDArray[np.intp]:
    # k / 10 is the same float as the literal; p * 10 and np.linspace are not
    return np.searchsorted(np.arange(1, BINS) / BINS, p, side="right")


def _labels(correct: ArrayLike) -> Bools:
    c = np.asarray(correct)
    if c.ndim != 1 or not len(c):
        raise CalibrationError(f"`correct` must be a row of at least one boolean, not an array of shape {c.shape}")
    if c.dtype != np.bool_:
        raise CalibrationError(f"`correct` must be boolean (True = right), not {c.dtype}; convert it, e.g. grades == 1")
    return c


def _aligned(values: ArrayLike, correct: ArrayLike) -> tuple[Floats, Bools]:
    c = _labels(correct)
    v = np.asarray(values, dtype=np.float64)
    if v.shape != c.shape:
        raise CalibrationError(f"{v.shape} values for {c.shape} labels; give one value for each answer")
    if not np.isfinite(v).all():
        raise CalibrationError(
            f"{int((~np.isfinite(v)).sum())} of {len(v)} values are not finite; leave unscored answers out"
        )
    return v, c


def checked_probabilities(p_correct: ArrayLike, correct: ArrayLike) -> tuple[Floats, Bools]:
    p, c = _aligned(p_correct, correct)
    if p.min() < 0 or p.max() > 1:
        raise CalibrationError(f"probabilities lie in [0, 1]; these go from {p.min():g} to {p.max():g}")
    return p, c
