"""What was found, in sentences. Knows nothing about how it was found."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from guardrail.calibration.metrics import Estimate
from guardrail.monitoring.calibration_drift import CalibrationDrift
from guardrail.monitoring.conclusion import SHIFT
from guardrail.monitoring.realised_risk import RealisedRisk
from guardrail.monitoring.reference import Reference
from guardrail.monitoring.score_drift import ScoreDrift
from guardrail.monitoring.tally import Tally

_SELECTED = 0.01
_COARSE = 0.2


def reason(
    name: str,
    scores: ScoreDrift | None,
    calibration: CalibrationDrift | None,
    risks: Sequence[RealisedRisk],
    unscored: Estimate | None,
    unscored_before: Estimate | None,
) -> str:
    """Why a test raised the alarm."""
    if name == "scores" and scores:
        higher = scores.higher
        how = "less sure than" if higher.low > 0.5 else "surer than" if higher.high < 0.5 else "not as sure as"
        return (
            f"scores: the model is {how} in the calibration; a score lies above one of the calibration with probability "
            f"{_told(higher)}, 0.5 without drift"
        )
    if name == "outside" and scores:
        return f"range: {_told(scores.outside)} of the scores lie outside the calibrated range, where confidences are clipped"
    if name == "unscored" and unscored and unscored_before:
        return f"unscored: {_told(unscored)} have no score, {_told(unscored_before)} in the calibration"
    if name == "gap" and calibration:
        return (
            f"confidence: {calibration.seen:.3f} are right where {calibration.said:.3f} was said; difference "
            f"{_told(calibration.gap)}"
        )
    if name == "slope" and calibration:
        slope = calibration.slope
        how = "differ from what was said as a whole"
        if slope is not None and slope.high < 1:
            how = "are too extreme: high ones too high, low ones too low"
        if slope is not None and slope.low > 1:
            how = "are not extreme enough: high ones too low, low ones too high"
        told = f" (slope {_told(slope)}, 1 as calibrated)" if slope else ""
        return f"confidence: the confidences {how}{told}"
    for risk in risks:
        if name == f"promise: {risk.what}" and risk.error:
            return f"risk: {_told(risk.error)} of the {risk.what} are wrong; the policy promises at most {risk.max_error:g}"
    return name


def notes(
    reference: Reference,
    tally: Tally,
    labels: int,
    more_scores: int | None,
    more_labels: int | None,
    selected: float | None,
) -> Iterator[str]:
    """What whoever reads the verdict must know."""
    what = f"{reference.unit}s"
    if more_scores is None or (more_labels is None and len(tally.labelled.correct)):
        yield (
            f"the calibration has {reference.n} {what}, too few to find a drift of {SHIFT:g} however long the log is; "
            "calibrate on more"
        )
    if more_scores:
        yield f"{more_scores} more scored {what} are needed to find a shift of {SHIFT:g} in the scores"
    if more_labels and len(tally.labelled.correct):
        yield f"{more_labels} more labelled {what} are needed to find a difference of {SHIFT:g} to what was said"
    if not len(tally.labelled.correct):
        yield (
            "no labels: whether the confidences still say how often answers are right is not known"
            + (f"; label {more_labels} {what}, drawn at random" if more_labels else "")
        )
    elif labels < len(tally.labelled.correct):
        yield (
            f"{len(tally.labelled.correct) - labels} labels are about answers that were given with evidence or have no score; "
            "they count as risk only"
        )
    if selected is not None and selected <= _SELECTED:
        yield (
            f"the labelled {what} have other scores than the rest (p = {selected:.2g}): the tests of the confidences allow for "
            "that, the error rates of what was shown do not; and where labels come from complaints, neither does"
        )
    if tally.extrapolated and tally.scored:
        yield (
            f"{tally.extrapolated} of {tally.scored} {what} were asked otherwise than in the calibration (extrapolated); "
            "drift may be that alone, see --calibrated-only"
        )
    coarse = float(reference.counts.max()) / reference.n
    if not reference.exact and coarse > _COARSE:
        yield (
            f"this calibrator has no sketch of its scores: up to {coarse:.0%} of them lie in one cell, so that shifts inside "
            "it do not show; guardrail calibrate writes one"
        )


def _told(e: Estimate) -> str:
    return f"{e.value:.3f} ({e.low:.3f} to {e.high:.3f})"
