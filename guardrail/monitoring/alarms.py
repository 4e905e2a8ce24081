"""The tests of the monitor: one function each, from what was measured to a p-value and the sentence of its alarm."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from scipy.stats import fisher_exact

from guardrail.calibration.metrics import Estimate
from guardrail.monitoring.calibration_drift import CalibrationDrift
from guardrail.monitoring.realised_risk import RealisedRisk
from guardrail.monitoring.score_drift import ScoreDrift


@dataclass(frozen=True, slots=True)
class Test:
    """name: in `p_values`. p_value: not corrected yet. reason: what to say if it raises the alarm."""

    name: str
    p_value: float
    reason: str


def tests_of(
    scores: ScoreDrift | None,
    calibration: CalibrationDrift | None,
    unscored: Test | None,
    risks: Iterable[RealisedRisk],
) -> Iterator[Test]:
    """All that can be tested with the data there is."""
    if scores is not None:
        yield shifted(scores)
        yield outside(scores)
    if unscored is not None:
        yield unscored
    if calibration is not None:
        yield biased(calibration)
        if (found := misscaled(calibration)) is not None:
            yield found
    for risk in risks:
        if (found := broken(risk)) is not None:
            yield found


def shifted(found: ScoreDrift) -> Test:
    """Do the scores have another distribution?"""
    higher = found.higher
    how = "less sure than" if higher.low > 0.5 else "surer than" if higher.high < 0.5 else "not as sure as"
    return Test(
        "scores",
        found.p_value,
        f"scores: the model is {how} in the calibration; a score lies above one of the calibration with probability "
        f"{_told(higher)}, 0.5 without drift",
    )


def outside(found: ScoreDrift) -> Test:
    """Do more scores lie outside the calibrated range than chance would put there?"""
    return Test(
        "outside",
        found.outside_p_value,
        f"range: {_told(found.outside)} of the scores lie outside the calibrated range, where confidences are clipped",
    )


def more_unscored(now: tuple[int, int], before: tuple[int, int], shares: tuple[Estimate, Estimate]) -> Test:
    """Has another share no score? now, before: unscored and scored ones. shares: of the unscored, now and before."""
    told, told_before = map(_told, shares)
    return Test(
        "unscored",
        float(fisher_exact([now, before])[1]),
        f"unscored: {told} have no score, {told_before} in the calibration",
    )


def biased(found: CalibrationDrift) -> Test:
    """Are more or fewer right than was said?"""
    return Test(
        "gap",
        found.gap_p_value,
        f"confidence: {found.seen:.3f} are right where {found.said:.3f} was said; difference {_told(found.gap)}",
    )


def misscaled(found: CalibrationDrift) -> Test | None:
    """Are the confidences too extreme, or not extreme enough? None with less than two of them."""
    if found.slope_p_value is None:
        return None
    slope, how = found.slope, "differ from what was said as a whole"
    if slope is not None and slope.high < 1:
        how = "are too extreme: high ones too high, low ones too low"
    if slope is not None and slope.low > 1:
        how = "are not extreme enough: high ones too low, low ones too high"
    told = f" (slope {_told(slope)}, 1 as calibrated)" if slope else ""
    return Test("slope", found.slope_p_value, f"confidence: the confidences {how}{told}")


def broken(risk: RealisedRisk) -> Test | None:
    """Is the policy's promise broken? None without a promise, or a label."""
    if risk.p_value is None or risk.error is None:
        return None
    return Test(
        name_of(risk),
        risk.p_value,
        f"risk: {_told(risk.error)} of the {risk.what} {'keep a wrong claim' if risk.what == 'answers' else 'are wrong'}; "
        f"the policy promises at most {risk.max_error:g}",
    )


def name_of(risk: RealisedRisk) -> str:
    """The name of the test of a promise."""
    return f"promise: {risk.what}"


def _told(e: Estimate) -> str:
    return f"{e.value:.3f} ({e.low:.3f} to {e.high:.3f})"
