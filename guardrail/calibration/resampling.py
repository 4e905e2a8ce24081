"""Ranking metrics of several scores of the same answers, with bootstrap intervals and paired differences.

All resamples at once: what `bootstrap_interval(auroc, ...)` does draw by draw would take a minute for fourteen scores. Knows
nothing about models or scorers. Arrays as in `metrics`; B: draws, n: answers, G: distinct scores.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from guardrail.calibration.bootstrap import tail_of
from guardrail.calibration.metrics import Bools, Estimate, Floats, aurc, auroc, prr
from guardrail.errors import CalibrationError

Counts = NDArray[np.int64]
MetricName = Literal["auroc", "aurc", "prr"]
METRICS: tuple[MetricName, ...] = ("auroc", "aurc", "prr")
_DRAWS_AT_ONCE = 2_000_000  # numbers in one array: 16 MB


class Ranking(NamedTuple):
    """`auroc`, `aurc` and `prr` of each of B resamples, (B,) each."""

    auroc: Floats
    aurc: Floats
    prr: Floats


def ranking_of(uncertainty: ArrayLike, correct: Bools, counts: Counts) -> Ranking:
    """The metrics of resamples in which answer i comes counts[b, i] times; every row has right and wrong answers.

    counts: (B, n), rows of one sum. Equal to `auroc`, `aurc` and `prr` of the answers so repeated.
    """
    u = np.asarray(uncertainty, dtype=np.float64)
    order = np.argsort(u, kind="stable")
    starts = np.flatnonzero(np.diff(u[order], prepend=-np.inf))  # of each distinct score
    kept = correct[order]
    sorted_ = counts[:, order]
    right = np.add.reduceat(sorted_ * kept, starts, axis=1)  # (B, G)
    wrong = np.add.reduceat(sorted_ * ~kept, starts, axis=1)
    of_right, of_wrong = right.sum(1), wrong.sum(1)  # (B,)
    below = np.cumsum(right, axis=1) - right
    ranked = (wrong * (below + right / 2)).sum(1) / (of_right * of_wrong)
    areas = _aurc(right, wrong)
    total = of_right + of_wrong
    error = of_wrong / total
    H = _harmonic(int(total.max()))
    oracle = (of_wrong - of_right * (H[total] - H[of_right])) / total
    return Ranking(ranked, areas, (error - areas) / (error - oracle))


def _aurc(right: Counts, wrong: Counts) -> Floats:
    """(B, G) -> (B,): the mean over k of the expected error rate among the k least uncertain.

    Within a tied group of m answers, rate r wrong, after k0 answers with E0 wrong, the sum over j = 1..m of
    (E0 + j r) / (k0 + j) is r m + (E0 - r k0) (H(k0 + m) - H(k0)).
    """
    m = right + wrong
    k, e = np.cumsum(m, axis=1), np.cumsum(wrong, axis=1)
    k0, e0 = k - m, e - wrong
    rate = wrong / np.maximum(m, 1)
    H = _harmonic(int(k[:, -1].max()))
    return np.asarray((rate * m + (e0 - rate * k0) * (H[k] - H[k0])).sum(1) / k[:, -1], dtype=np.float64)


def _harmonic(n: int) -> Floats:
    """H(0)..H(n)."""
    return np.concatenate([[0.0], np.cumsum(1 / np.arange(1, n + 1))])


def drawn(correct: Bools, draws: int, seed: int, *, stratified: bool) -> Iterator[Counts]:
    """How often each answer comes in each resample, in blocks of rows, `draws` rows in all.

    stratified: right and wrong answers are drawn each from their own, so that each resample has as many of both as the data.
    Otherwise a resample without both is drawn again.
    """
    rng, n = np.random.default_rng(seed), len(correct)
    kinds = [np.flatnonzero(correct), np.flatnonzero(~correct)]
    block = max(1, _DRAWS_AT_ONCE // n)
    left = draws
    while left:
        rows = min(block, left)
        if stratified:
            chosen = np.concatenate([kind[rng.integers(0, len(kind), (rows, len(kind)))] for kind in kinds], axis=1)
        else:
            chosen = rng.integers(0, n, (rows, n))
            both = correct[chosen].any(1) & ~correct[chosen].all(1)
            chosen = chosen[both]
        counts = np.zeros((len(chosen), n), dtype=np.int64)
        np.add.at(counts, (np.arange(len(chosen))[:, None], chosen), 1)
        left -= len(chosen)
        if len(chosen):
            yield counts


@dataclass(frozen=True, slots=True, eq=False)
class Comparison:
    """Several scores of the same n answers, by name, measured on the same resamples.

    metrics: by name and metric. auroc, aurc, prr of each resample are kept in `draws`, (scores, B), for differences.
    """

    names: tuple[str, ...]
    n: int
    level: float
    metrics: Mapping[str, Mapping[MetricName, Estimate]]
    draws: Mapping[MetricName, Floats]

    def difference(self, first: str, second: str, metric: MetricName = "auroc") -> Estimate:
        """The first's metric minus the second's, paired: both are measured on the same resamples."""
        i, j = self.names.index(first), self.names.index(second)
        value = self.metrics[first][metric].value - self.metrics[second][metric].value
        return _interval(value, self.draws[metric][i] - self.draws[metric][j], self.n, self.level)

    @property
    def best(self) -> str:
        """With the highest AUROC; the first of equal ones."""
        return max(self.names, key=lambda name: self.metrics[name]["auroc"].value)

    def inseparable(self, name: str) -> tuple[str, ...]:
        """The others whose AUROC cannot be told from this one's, in order: the interval of their difference includes zero.

        These intervals hold for all pairs together at the level, so that the best one may be chosen after looking at the data:
        they reach as far as the largest of all studentised differences does among the resamples (Romano and Wolf 2005).
        """
        value = np.array([self.metrics[n]["auroc"].value for n in self.names])
        first, second = np.triu_indices(len(value), 1)
        if not len(first):
            return ()
        drawn_ = self.draws["auroc"][first] - self.draws["auroc"][second]  # (pairs, B)
        spread = drawn_.std(axis=1)
        away = np.abs(drawn_ - drawn_.mean(axis=1, keepdims=True)).T / np.where(spread > 0, spread, 1)
        reach = float(np.quantile(away.max(axis=1), self.level)) * spread
        apart = np.abs(value[first] - value[second]) > reach
        me = self.names.index(name)
        mine = ((first == me) | (second == me)) & ~apart
        others = {int(i) for i in (*first[mine], *second[mine])} - {me}
        return tuple(self.names[i] for i in sorted(others))


def compare(
    scores: Mapping[str, ArrayLike], correct: ArrayLike, *, draws: int = 1000, seed: int = 0, level: float = 0.95
) -> Comparison:
    """AUROC, AURC and PRR of each score, with percentile intervals, widened to hold the value, on resamples they share.

    scores: (n,) each, by name. AUROC and PRR come from stratified resamples, which all have both classes; AURC moves with the
    error rate, which stratified ones would hold still, so that its resamples draw from all answers. Raises `CalibrationError`
    where there are no right or no wrong answers, and for what `auroc` refuses.

        compared = compare({"a": u, "b": v}, correct)
        compared.metrics["a"]["auroc"], compared.difference("a", "b")
    """
    if draws < 1 or not scores:
        raise CalibrationError(f"a comparison needs at least one score and one draw, not {len(scores)} and {draws}")
    labels = np.asarray(correct)
    columns = {name: np.asarray(u, dtype=np.float64) for name, u in scores.items()}
    plain = {name: (auroc(u, labels), aurc(u, labels), prr(u, labels)) for name, u in columns.items()}
    found: dict[MetricName, list[list[Floats]]] = {metric: [[] for _ in columns] for metric in METRICS}
    for stratified, wanted in ((True, ("auroc", "prr")), (False, ("aurc",))):
        for counts in drawn(labels, draws, seed, stratified=stratified):
            for i, u in enumerate(columns.values()):
                ranking = ranking_of(u, labels, counts)
                for metric in METRICS:
                    if metric in wanted:
                        found[metric][i].append(getattr(ranking, metric))
    whole = {metric: np.stack([np.concatenate(one) for one in found[metric]]) for metric in METRICS}
    metrics = {
        name: {
            metric: _interval(value, whole[metric][i], len(labels), level)
            for metric, value in zip(METRICS, plain[name], strict=True)
        }
        for i, name in enumerate(columns)
    }
    return Comparison(tuple(columns), len(labels), level, metrics, whole)


def _interval(value: float, drawn_: Floats, n: int, level: float) -> Estimate:
    tail = tail_of(level)
    low, high = np.quantile(drawn_, [tail, 1 - tail])
    return Estimate(value, min(float(low), value), max(float(high), value), n)
