"""How often what was shown was wrong, with an exact interval, against what a policy promised."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from scipy.special import betainc, betaincinv

from guardrail.calibration.metrics import Estimate
from guardrail.errors import CalibrationError

Shown = Literal["answered", "shown", "answers"]
"""answered: shown as it is (claims: kept). shown: as it is or hedged. answers: wrong where a wrong claim is kept."""

Status = Literal["kept", "broken", "not known yet"]

_FEWEST, _MOST = 1, 10_000_000


@dataclass(frozen=True, slots=True)
class RealisedRisk:
    """Labelled answers that were shown, and wrong ones among them. total: all that were shown, labelled or not.

    error: share of the labelled that is wrong, with its 95 % interval (Clopper and Pearson 1934); None without labels.
    max_error: what the policy promised; None: nothing. p_value: of so many errors or more if the promise is kept.
    more_labels: how many more would settle it at the rate seen; None: settled, no promise, or more than ten million.
    """

    what: Shown
    n: int
    errors: int
    total: int
    error: Estimate | None
    max_error: float | None
    p_value: float | None
    more_labels: int | None

    def status(self, broken: bool) -> Status | None:
        """Whether the promise is kept. broken: whether the p-value holds after correction for the other tests."""
        if self.max_error is None:
            return None
        if broken:
            return "broken"
        return "kept" if self.error is not None and self.error.high <= self.max_error else "not known yet"


def realised_risk(
    what: Shown, errors: int, n: int, total: int, *, max_error: float | None = None, design_effect: float = 1.0
) -> RealisedRisk:
    """Of `total` answers shown, n have a label, and `errors` of these are wrong.

    design_effect: as in `calibration_drift`, for claims; the interval is then that of n / design_effect independent ones.
    """
    error = exact_interval(errors, n, design_effect=design_effect) if n else None
    if max_error is None:
        return RealisedRisk(what, n, errors, total, error, None, None, None)
    settled = error is not None and not error.low <= max_error < error.high
    return RealisedRisk(
        what,
        n,
        errors,
        total,
        error,
        max_error,
        at_least(errors, n, max_error) if n else None,
        None if settled else _more(errors, n, max_error),
    )


def exact_interval(errors: int, n: int, level: float = 0.95, design_effect: float = 1.0) -> Estimate:
    """A share with its two-sided Clopper-Pearson interval. Raises `CalibrationError` for counts that are none."""
    if not 0 <= errors <= n or not n:
        raise CalibrationError(f"{errors} of {n} is no share; it needs 0 <= errors <= n and n >= 1")
    tail = (1 - level) / 2
    k, m = errors / design_effect, n / design_effect
    low = float(betaincinv(k, m - k + 1, tail)) if errors else 0.0
    high = float(betaincinv(k + 1, m - k, 1 - tail)) if errors < n else 1.0
    return Estimate(errors / n, low, high, n)


def at_least(errors: int, n: int, rate: float) -> float:
    """P(at least `errors` among n) at this rate: the exact one-sided p-value of "the rate is at most this"."""
    return float(betainc(errors, n - errors + 1, rate)) if errors else 1.0


def _more(errors: int, n: int, max_error: float) -> int | None:
    """The fewest further labels, at the rate seen, with which the interval lies on one side of the promise.

    Without a label: the fewest, all of them right. By bisection: at a fixed rate the interval narrows as n grows.
    """
    rate = errors / n if n else 0.0

    def settles(total: int) -> bool:
        interval = exact_interval(min(total, round(rate * total)), total)
        return not interval.low <= max_error < interval.high

    low, high = max(n, _FEWEST), _MOST
    if not settles(high):
        return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if settles(middle) else (middle, high)
    return high - n
