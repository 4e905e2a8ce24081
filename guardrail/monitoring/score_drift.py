"""Are a log's scores distributed as the calibration's were? An exact test on counts, PSI, and a size in plain terms.

The test: cells between order statistics of the calibration's n scores hold unknown
shares of any continuous distribution, and these shares are Dirichlet(counts, 1), whatever the distribution is (Wilks 1962,
section 8.7). So, if the log's scores come from the same one, their counts in the cells are Dirichlet-multinomial, nothing
assumed or estimated. Drawing such counts gives the null distribution of any statistic, and (1 + draws at least as large) /
(1 + draws) a p-value that is right for every n. Where scores are tied it is approximate (tests/monitoring simulates it).
The statistic is Anderson and Darling's two-sample one, on the cells: the squared distance of the two distribution
functions, with weight on the tails.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaln, gammaln

from guardrail.calibration.metrics import Estimate, Floats
from guardrail.monitoring.reference import Reference

DRAWS = 1999
_HALF = 0.5  # pseudo-count of PSI's groups, which may be empty


@dataclass(frozen=True, slots=True)
class ScoreDrift:
    """What the comparison found. n: scores in the log.

    p_value: of the same distribution. higher: probability that a score of the log lies above one of the calibration, ties
    counted half; 0.5 = no shift, above = the model is less sure than it was. psi: population stability index over the
    calibration's tenths, in nats, less what sampling alone adds, with a 95 % bootstrap interval. psi_raw: as usually
    computed; psi_by_chance: what it stays below in 95 % of logs of this length without any drift. outside: share of scores
    beyond the calibrated range; outside_p_value: of so many or more by chance. effective_n: fewer than n where scores come in
    clusters (the claims of one answer) that are alike.
    """

    n: int
    effective_n: int
    p_value: float
    higher: Estimate
    psi: Estimate
    psi_raw: float
    psi_by_chance: float
    outside: Estimate
    outside_p_value: float


def score_drift(
    reference: Reference,
    counts: Floats,
    outside: Estimate,
    *,
    design_effect: float = 1.0,
    draws: int = DRAWS,
    seed: int = 0,
) -> ScoreDrift:
    """Compare a log's `counts`, (K + 1,), in the reference's cells. outside: share beyond the calibrated range.

    design_effect: how many times as large as for independent scores the variance is; both sides are taken to have it.
    """
    rng = np.random.default_rng(seed)
    n = int(counts.sum())
    kept = max(1, round(n / design_effect))
    before = np.append(reference.counts[:-1], 1.0) / design_effect  # (K + 1,), of the Dirichlet
    shares = counts / n
    groups = reference.groups().astype(np.intp)

    null = rng.multinomial(kept, rng.dirichlet(before, draws)) / kept  # (draws, K + 1)
    told, by_chance = (
        _distance(reference, shares[None], kept, design_effect)[0],
        _distance(reference, null, kept, design_effect),
    )
    p_value = (1 + int((by_chance >= told * (1 - 1e-12)).sum())) / (1 + draws)

    in_groups = _grouped(reference.counts, groups) / design_effect
    raw = _psi(in_groups, _grouped(shares * kept, groups))
    psi_null = _psi(in_groups, _grouped(null * kept, groups))
    inflated = (len(np.unique(groups)) - 1) * (1 / in_groups.sum() + 1 / kept)
    again = rng.multinomial(kept, shares, draws)  # (draws, K + 1)
    calibration = rng.dirichlet(before, draws)
    psi_draws = _psi(_grouped(calibration * in_groups.sum(), groups), _grouped(again, groups)) - 2 * inflated
    above = _superiority(shares[None], _shares(reference)[None])[0]
    above_draws = _superiority(again / kept, calibration)
    return ScoreDrift(
        n=n,
        effective_n=kept,
        p_value=p_value,
        higher=_around(float(above), above_draws, n),
        psi=_around(max(0.0, float(raw - inflated)), np.maximum(psi_draws, 0.0), n),
        psi_raw=float(raw),
        psi_by_chance=float(np.quantile(psi_null, 0.95)),
        outside=outside,
        outside_p_value=beyond_by_chance(round(outside.value * kept), kept, round(reference.n / design_effect)),
    )


def beyond_by_chance(found: int, n: int, calibrated: int) -> float:
    """P(at least `found` of n scores lie outside the range of `calibrated` others from the same distribution).

    The share outside is Beta(2, calibrated - 1) for any continuous distribution, the count so beta-binomial.
    """
    below = np.arange(found)
    choose = gammaln(n + 1) - gammaln(below + 1) - gammaln(n - below + 1)
    log_mass = choose + betaln(below + 2, n - below + calibrated - 1) - betaln(2, calibrated - 1)
    return float(np.clip(1 - np.exp(log_mass).sum(), 0.0, 1.0)) if found else 1.0


def _distance(reference: Reference, shares: Floats, n: int, design_effect: float) -> Floats:
    """Anderson and Darling's statistic of each row of `shares`, (rows, K + 1), but for a factor that all share."""
    calibrated = reference.n / design_effect
    theirs = np.cumsum(shares, axis=1)[:, :-1]
    ours = np.cumsum(_shares(reference))[:-1]
    pooled = (n * theirs + calibrated * ours) / (n + calibrated)  # (rows, K)
    mass = np.diff(pooled, axis=1, prepend=0.0)
    spread = pooled * (1 - pooled)
    inside = spread > 1e-12
    out: Floats = (mass * np.where(inside, (theirs - ours) ** 2 / np.where(inside, spread, 1.0), 0.0)).sum(axis=1)
    return out


def _superiority(log: Floats, calibration: Floats) -> Floats:
    """P(a score of the log > one of the calibration) + half of P(same cell), row by row: (rows,)."""
    middle = np.cumsum(calibration, axis=1) - calibration / 2
    out: Floats = (log * middle).sum(axis=1)
    return out


def _psi(calibration: Floats, log: Floats) -> Floats:
    """Of counts in groups, (..., G): sum of (log share - calibration share) * ln(log share / calibration share)."""
    a, b = (_shares_of(x) for x in (calibration, log))
    out: Floats = ((b - a) * np.log(b / a)).sum(axis=-1)
    return out


def _shares_of(counts: Floats) -> Floats:
    smoothed = counts + _HALF
    out: Floats = smoothed / smoothed.sum(axis=-1, keepdims=True)
    return out


def _shares(reference: Reference) -> Floats:
    out: Floats = reference.counts / reference.n
    return out


def _grouped(counts: NDArray[Any], groups: NDArray[np.intp]) -> Floats:
    """Cells -> tenths; tenths that no cell belongs to (ties) are left out."""
    indicator = (groups[:, None] == np.unique(groups)[None]).astype(np.float64)  # (K + 1, G)
    out: Floats = counts @ indicator
    return out


def _around(value: float, draws: Floats, n: int) -> Estimate:
    low, high = np.quantile(draws, [0.025, 0.975])
    return Estimate(value, min(float(low), value), max(float(high), value), n)
