"""Percentile bootstrap of any statistic, by rows or by clusters of rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from guardrail.errors import CalibrationError


def resampled(
    statistic: Callable[[Sequence[NDArray[Any]]], float],
    arrays: Sequence[ArrayLike],
    n: int,
    seed: int,
    level: float,
    groups: ArrayLike | None = None,
) -> tuple[float, float, float, int]:
    """The statistic on the whole arrays, both ends of its percentile interval, and the number of rows.

    groups: (rows,), clusters that are drawn whole; None draws single rows.
    """
    if n < 1:
        raise CalibrationError(f"a bootstrap needs n >= 1 draws, not {n}")
    data = [np.asarray(a) for a in arrays]
    lengths = {len(a) for a in data}
    if len(lengths) != 1 or 0 in lengths:
        raise CalibrationError(f"a bootstrap needs arrays of one length above zero, not {[len(a) for a in data]}")
    rows = lengths.pop()
    tail = tail_of(level)
    value = statistic(data)
    draw = _clusters(groups, rows) if groups is not None else lambda rng: rng.integers(0, rows, rows)
    rng = np.random.default_rng(seed)
    draws: list[float] = []
    for _ in range(n):
        chosen = draw(rng)
        try:
            draws.append(statistic([a[chosen] for a in data]))
        except CalibrationError:  # undefined on this draw; that the arguments are sound, the whole data have shown
            continue
    if 2 * len(draws) < n:
        raise CalibrationError(
            f"the metric is undefined on {n - len(draws)} of {n} draws from {rows} rows; take more rows"
        )
    low, high = np.quantile(draws, [tail, 1 - tail])
    return value, min(float(low), value), max(float(high), value), rows


def _clusters(groups: ArrayLike, rows: int) -> Callable[[np.random.Generator], NDArray[np.intp]]:
    """Draws whole clusters with replacement, as many as there are, and gives their rows."""
    _, member = np.unique(np.asarray(groups), return_inverse=True)
    if len(member) != rows:
        raise CalibrationError(f"{len(member)} groups for {rows} rows; give one for each row")
    order, size = np.argsort(member, kind="stable"), np.bincount(member)
    start = np.cumsum(size) - size

    def draw(rng: np.random.Generator) -> NDArray[np.intp]:
        clusters = rng.integers(0, len(size), len(size))
        sizes = size[clusters]
        within = np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        chosen: NDArray[np.intp] = order[np.repeat(start[clusters], sizes) + within]
        return chosen

    return draw


def tail_of(level: float) -> float:
    """What lies beyond one end of an interval of that level."""
    if not 0 < level < 1:
        raise CalibrationError(f"a level lies between 0 and 1, as 0.95 does; got {level}")
    return (1 - level) / 2
