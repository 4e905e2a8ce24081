"""Do the confidences still say how often answers are right? Two tests on labelled answers, ECE, and Cox's two numbers.

A calibrator is itself an estimate: fitted on n answers, its curve lies beside the truth, the more
so at its ends, where the blocks were chosen for being extreme. A test that takes its probabilities for the truth raises the
alarm too often, however little has drifted. So the null distribution is drawn (parametric bootstrap): labels for the
calibration's scores from the curve, a calibrator fitted on them, labels for the log's scores from the same curve, and the
statistics of the new labels against the new calibrator. Both depend on the scores of the labelled answers, not on how these
are distributed: choosing answers to label by score, label or action does no harm. Choosing them because they look wrong
does, and nothing in a log can show it.

    in the large    sum(correct - p) / sqrt(sum p (1 - p)): more, or fewer, are right than was said
    slope           efficient score test of b = 1 in logit P(right) = a + b logit(p) (Cox 1958): the confidences are too
                    extreme (b < 1), or not extreme enough (b > 1)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import isotonic_regression
from scipy.special import expit, logit, ndtri

from guardrail.calibration.metrics import (
    Bools,
    Estimate,
    Floats,
    ReliabilityBin,
    bootstrap_interval,
    ece,
    reliability_table,
)
from guardrail.calibration.pooling import pool_adjacent_violators
from guardrail.calibration.record import PSEUDO_ANSWERS
from guardrail.monitoring.reference import Reference

DRAWS = 999
MOST = 2000  # distinct scores that are drawn for; more are drawn for in groups
_MANY = 20_000  # labels from which on 200 resamples do for ECE


@dataclass(frozen=True, slots=True)
class CalibrationDrift:
    """What labelled answers say. n: how many.

    said: mean confidence. seen: share that is right, seen minus said in `gap`, whose interval knows that the calibrator is an
    estimate; gap_p_value: of no difference. slope: Cox's b, 1 = as said, its interval for the labels alone; None where it
    cannot be estimated (one confidence for all, or labels that it separates). slope_p_value: None with less than two
    confidences. design_effect: how many times as large as for independent labels the variance is (claims of one answer).
    """

    n: int
    said: float
    seen: float
    gap: Estimate
    gap_p_value: float
    slope: Estimate | None
    slope_p_value: float | None
    ece: Estimate
    reliability: tuple[ReliabilityBin, ...]
    design_effect: float


def calibration_drift(
    reference: Reference,
    scores: Floats,
    p_correct: Floats,
    correct: Bools,
    *,
    answers: Floats | None = None,
    draws: int = DRAWS,
    resamples: int = 1000,
    seed: int = 0,
) -> CalibrationDrift:
    """Compare confidences with labels, (n,) each. answers: (n,), which answer each claim comes from; None: each its own.

    draws: of the null distribution. resamples: behind the interval of ECE, 200 at most where there are many labels.
    """
    rng = np.random.default_rng(seed)
    design = 1.0 if answers is None else design_effect(correct - p_correct, answers)
    s, p, n, right = _grouped(scores, p_correct, correct)
    gap, slope = _statistics(p, n, right)
    null = _null(reference, s, p, n, rng, draws)  # (draws, 3): in the large, slope, gap
    difference = float(right.sum() / n.sum() - (n * p).sum() / n.sum())
    spread = np.quantile(null[:, 2] * np.sqrt(design), [0.025, 0.975])
    return CalibrationDrift(
        n=len(correct),
        said=float(p_correct.mean()),
        seen=float(correct.mean()),
        gap=Estimate(
            difference,
            min(difference, difference - float(spread[1])),
            max(difference, difference - float(spread[0])),
            len(correct),
        ),
        gap_p_value=_two_sided(gap / np.sqrt(design), null[:, 0]),
        slope=_slope(p, n, right, design),
        slope_p_value=None if slope is None else _two_sided(slope / np.sqrt(design), null[:, 1]),
        ece=bootstrap_interval(
            ece,
            p_correct,
            correct,
            n=min(resamples, 200) if len(correct) > _MANY else resamples,
            seed=seed,
            groups=answers,
        ),
        reliability=reliability_table(p_correct, correct),
        design_effect=design,
    )


def design_effect(residuals: Floats, clusters: Floats) -> float:
    """Variance of a sum of clustered residuals, (n,), as a multiple of what independent ones would have; at least 1."""
    _, member = np.unique(clusters, return_inverse=True)
    independent = float((residuals**2).sum())
    return max(1.0, float((np.bincount(member, weights=residuals) ** 2).sum()) / independent) if independent else 1.0


def refitted(scores: Floats, n: Floats, right: Floats, at: Floats) -> Floats:
    """`fitted_probabilities` for counts: n answers, `right` of them right, at ascending distinct scores, (m,) each.

    The same numbers, many times faster, for it is called for every draw.
    """
    starts = isotonic_regression(right / n, weights=n, increasing=False).blocks[:-1]
    sizes, k = np.add.reduceat(n, starts), np.add.reduceat(right, starts)
    base = float(right.sum() / n.sum())
    for pseudo in (0.0, PSEUDO_ANSWERS):
        if (np.diff(_shrunk(sizes, k, base, pseudo)) >= 0).any():
            pooled = pool_adjacent_violators(sizes.tolist(), k.tolist(), pseudo, base)
            sizes, k = (np.array([block[i] for block in pooled], dtype=np.float64) for i in (1, 2))
    p = _shrunk(sizes, k, base, PSEUDO_ANSWERS)
    stops = np.cumsum(sizes)
    middle = (2 * stops - sizes - 1) // 2  # ranks of the medians, from 0
    out: Floats = np.interp(at, scores[np.searchsorted(np.cumsum(n), middle, side="right")], p)
    return out


def _shrunk(n: Floats, right: Floats, base: float, pseudo: float) -> Floats:
    """`guardrail.calibration.record.shrunk` for many blocks."""
    out: Floats = (right + pseudo * base) / (n + pseudo)
    return out


def _null(reference: Reference, s: Floats, p: Floats, n: Floats, rng: np.random.Generator, draws: int) -> Floats:
    calibrated, sizes = reference.scores()
    truth = reference.calibrator.probabilities(calibrated)
    out = np.zeros((draws, 3))
    for i in range(draws):
        again = refitted(calibrated, sizes, _drawn(rng, sizes, truth), s)
        right = _drawn(rng, n, p)
        gap, slope = _statistics(again, n, right)
        out[i] = gap, 0.0 if slope is None else slope, (right.sum() - (n * again).sum()) / n.sum()
    return out


def _drawn(rng: np.random.Generator, n: Floats, p: Floats) -> Floats:
    """How many of n are right at each score, (m,)."""
    if n.max() == 1:  # the usual case, and much faster so
        return (rng.random(len(n)) < p).astype(np.float64)
    return rng.binomial(n.astype(np.int64), p).astype(np.float64)


def _statistics(p: Floats, n: Floats, right: Floats) -> tuple[float, float | None]:
    """Both statistics, standard normal if p were the truth; no slope where all p are the same."""
    variance = n * p * (1 - p)
    gap = float((right - n * p).sum() / np.sqrt(variance.sum()))
    x = np.log(p / (1 - p))
    if np.ptp(x) < 1e-9:
        return gap, None
    weight = n * p * (1 - p)
    centred = x - (weight * x).sum() / weight.sum()  # so that an intercept takes nothing from the slope, to first order
    return gap, float(((right - n * p) * centred).sum() / np.sqrt((weight * centred**2).sum()))


def _slope(p: Floats, n: Floats, right: Floats, design: float) -> Estimate | None:
    """Cox's b by maximum likelihood, with its 95 % Wald interval."""
    x = logit(p)
    if np.ptp(x) < 1e-9:
        return None
    columns = np.stack([np.ones_like(x), x - x.mean()])  # (2, m)

    def likelihood(beta: Floats) -> float:
        at = beta @ columns
        return float((right * at - n * np.logaddexp(0, at)).sum())

    beta = np.array([0.0, 1.0])
    for _ in range(100):
        q = expit(beta @ columns)
        information = (columns * (n * q * (1 - q))) @ columns.T
        if np.linalg.cond(information) > 1e12:
            return None
        step = np.linalg.solve(information, columns @ (right - n * q))
        if np.abs(step).max() < 1e-8:
            half = float(ndtri(0.975) * np.sqrt(np.linalg.inv(information)[1, 1] * design))
            return Estimate(float(beta[1]), float(beta[1]) - half, float(beta[1]) + half, int(n.sum()))
        while np.abs(step).max() > 1e-8 and likelihood(beta + step) < likelihood(beta):
            step = step / 2  # Newton overshoots where confidences are extreme
        beta = beta + step
    return None


def _two_sided(value: float, null: Floats) -> float:
    tail = min(int((null <= value + 1e-12).sum()), int((null >= value - 1e-12).sum()))
    return min(1.0, 2 * (1 + tail) / (1 + len(null)))


def _grouped(scores: Floats, p: Floats, correct: Bools) -> tuple[Floats, Floats, Floats, Floats]:
    """Distinct scores, ascending, with their p, how many answers, and how many right ones: (m,) each, m <= MOST."""
    distinct, member = np.unique(scores, return_inverse=True)
    if len(distinct) > MOST:
        member = member * MOST // len(distinct)
    n = np.bincount(member).astype(np.float64)
    mean_score, mean_p = (np.bincount(member, weights=values) / n for values in (scores, p))
    return mean_score, mean_p, n, np.bincount(member, weights=correct).astype(np.float64)
