"""Graded answers of two models to the same questions -> accuracy against the share that the second is asked, for each score.

The questions that a score is least sure of are asked of the second model first. Against that stand asking it about as many,
drawn at random, asking it always, readers of the texts alone, and the best order there is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from guardrail.calibration.metrics import Bools, Estimate, Floats, wilson_interval
from guardrail.errors import CalibrationError

SHARES = tuple(k / 20 for k in range(21))
"""Of the questions, at which a curve is written down."""

BEST_ORDER = "the best order there is"
"""What knows which answers are right: it asks first where only the second model is right, and last where only the first is."""

Kind = Literal["scorer", "control", "oracle"]
_DRAWS = 1000


@dataclass(frozen=True, slots=True)
class CascadeCurve:
    """One order of the questions.

    Attributes:
        name: Of the score, or of the control.
        kind: What the order comes from; "oracle" knows which answers are right.
        accuracy: At each of `SHARES`, of what is shown.
        over_random: Mean over all shares of the accuracy beyond that of a random order: the area between the two curves.
        over_always: The same beyond asking the second always: mostly below 0, since that asks more.
    """

    name: str
    kind: Kind
    accuracy: tuple[float, ...]
    over_random: Estimate
    over_always: Estimate

    def at(self, share: float) -> float:
        """The accuracy at a share from 0 to 1, on the line between those that are written down."""
        return float(np.interp(share, SHARES, self.accuracy))


@dataclass(frozen=True, slots=True)
class Cascade:
    """What `guardrail bench --escalate-to` finds.

    Attributes:
        second: The second model's name.
        n: Questions that both answered.
        first_alone: Accuracy of the first model on them.
        second_alone: Of the second, which is asked always.
        cost_per_call: Of an answer of the first model.
        cost_of_second: Of an answer of the second one, in the same unit.
        curves: One a score, largest area first; then the controls that were measured, and the best order.
        beyond_texts: The area of the first curve minus that of a reader of question and answer, paired; None where there is no
            such reader.
    """

    second: str
    n: int
    first_alone: Estimate
    second_alone: Estimate
    cost_per_call: float
    cost_of_second: float
    curves: tuple[CascadeCurve, ...]
    beyond_texts: Estimate | None = None

    def cost(self, share: float) -> float:
        """Expected cost of a question where so many are asked of both models; asking the second alone is `cost_of_second`."""
        return self.cost_per_call + share * self.cost_of_second

    @property
    def costs(self) -> list[float]:
        """At each of `SHARES`."""
        return [self.cost(share) for share in SHARES]

    def random(self, share: float) -> float:
        """The accuracy where so many, drawn at random, are asked of the second model."""
        return self.first_alone.value + share * (self.second_alone.value - self.first_alone.value)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {**asdict(self), "shares": list(SHARES), "costs": self.costs}


def drawn_curves(found: Cascade, scorers: int = 3) -> dict[str, tuple[float, ...]]:
    """What a picture has room for: so many scorers, those of the largest areas, the controls and the best order, by name."""
    kept = [
        *[c for c in found.curves if c.kind == "scorer"][:scorers],
        *(c for c in found.curves if c.kind != "scorer"),
    ]
    return {c.name: c.accuracy for c in kept}


def curve(uncertainty: ArrayLike, first: Bools, second: Bools) -> Floats:
    """Accuracy where the k questions of highest uncertainty are asked of the second model, for k = 0..n, (n + 1,).

    uncertainty, first, second: (n,); whether each model is right. Equal scores stand in random order: the expected accuracy.
    """
    gain = second.astype(np.float64) - first
    _, group, size = np.unique(-np.asarray(uncertainty, dtype=np.float64), return_inverse=True, return_counts=True)
    expected = np.repeat(np.bincount(group, weights=gain) / size, size)
    return np.asarray(first.mean() + np.concatenate([[0.0], np.cumsum(expected)]) / len(gain), dtype=np.float64)


def over_random(uncertainty: ArrayLike, gain: Floats, counts: NDArray[np.int64]) -> Floats:
    """The area between the curve and a random order's straight line, of each of B resamples, (B,).

    gain: whether the second model is right minus whether the first is, (n,). counts: how often each question comes, (B, n). A
    step at the middle share s of its ties raises all that follows: sum over questions of gain (1/2 - s), over their number.
    """
    u = -np.asarray(uncertainty, dtype=np.float64)
    order = np.argsort(u, kind="stable")
    starts = np.flatnonzero(np.diff(u[order], prepend=-np.inf))  # of each distinct score
    sorted_ = counts[:, order]
    size = np.add.reduceat(sorted_, starts, axis=1)  # (B, distinct)
    gained = np.add.reduceat(sorted_ * gain[order], starts, axis=1)
    total = size.sum(1, keepdims=True)
    middle = (np.cumsum(size, axis=1) - size / 2) / total
    return np.asarray((gained * (0.5 - middle)).sum(1) / total[:, 0], dtype=np.float64)


def cascade(
    scores: Mapping[str, Floats],
    first: Bools,
    second: Bools,
    *,
    name: str,
    controls: Mapping[str, Floats] | None = None,
    cost_per_call: float = 0.0,
    cost_of_second: float = 1.0,
    seed: int = 0,
) -> Cascade:
    """The curve of each score, with 95 % intervals from resampled questions.

    Args:
        scores: By name, of the first model's answers, (n,), higher = less sure.
        first: Whether the first model is right, (n,).
        second: Whether the second is, (n,).
        name: The second model's.
        controls: Uncertainties of readers of the texts alone, (n,) each, that of question and answer first.
        cost_per_call: Of the first model's answer.
        cost_of_second: Of the second's.
        seed: Of the resamples.

    Raises:
        CalibrationError: For no questions.
    """
    n = len(first)
    if not n:
        raise CalibrationError("no question was answered by both models, and scored by every scorer")

    gain = second.astype(np.float64) - first
    once = np.ones((1, n), dtype=np.int64)
    counts = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=_DRAWS)
    half = gain.mean() / 2, counts @ gain / (2 * n)  # from a random order's area to that of asking always

    def drawn(uncertainty: Floats, key: str, kind: Kind) -> tuple[CascadeCurve, Floats]:
        points = np.interp(SHARES, np.arange(n + 1) / n, curve(uncertainty, first, second))
        (value,), spread = (over_random(uncertainty, gain, c) for c in (once, counts))
        over = _estimate(float(value), spread, n), _estimate(float(value - half[0]), spread - half[1], n)
        return CascadeCurve(key, kind, tuple(points.tolist()), *over), spread

    best = [drawn(u, key, "scorer") for key, u in scores.items()]
    best.sort(key=lambda one: -one[0].over_random.value)
    beside = [drawn(u, key, "control") for key, u in (controls or {}).items()]
    beyond = None
    if beside:
        (ours, its), (reader, readers) = best[0], beside[0]
        beyond = _estimate(ours.over_random.value - reader.over_random.value, its - readers, n)
    return Cascade(
        second=name,
        n=n,
        first_alone=wilson_interval(int(first.sum()), n),
        second_alone=wilson_interval(int(second.sum()), n),
        cost_per_call=cost_per_call,
        cost_of_second=cost_of_second,
        curves=tuple(one for one, _ in (*best, *beside, drawn(gain, BEST_ORDER, "oracle"))),
        beyond_texts=beyond,
    )


def _estimate(value: float, spread: Floats, n: int) -> Estimate:
    low, high = np.quantile(spread, [0.025, 0.975]).tolist()
    return Estimate(value, min(low, value), max(high, value), n)
