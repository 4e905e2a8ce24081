"""The scores that a calibrator reads, from answers that were collected for it. Knows nothing about files or models."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from guardrail.calibration.profiles import fit, scores
from guardrail.errors import CalibrationError
from guardrail.runs.stacked_readings import asking_of, claim_readings_of, readings_of, scores_by
from guardrail.scoring.profile import Profile

if TYPE_CHECKING:
    from guardrail.calibration.isotonic import IsotonicCalibrator
    from guardrail.calibration.metrics import Floats
    from guardrail.calibration.provenance import Provenance
    from guardrail.runs.answers import Answers
    from guardrail.runs.collect_claims import ClaimAnswers

FROM_READINGS = frozenset({"hybridgrad", "stacked"})
"""Scorers whose number follows from what every record holds of the one pass; the others' stands in the record itself."""


def scores_of(calibrator: IsotonicCalibrator, answers: Answers) -> Floats:
    """The score of each scored answer, (len(answers.scored),), by the scorer and profile that the calibrator was fitted with.

    answers: those that this scorer has a score of, `for_calibrator`. Raises `CalibrationError` where the calibrator does not
    say its scorer, or a score is missing.
    """
    origin = _origin(calibrator)
    if origin.scorer == "stacked":
        return scores_by(origin, readings_of(answers, asking_of(origin)))
    if origin.scorer in FROM_READINGS:
        return scores(profile_of(calibrator), answers.signals)
    found = [answers.records[i].get("scores", {}).get(origin.scorer) for i in answers.scored.tolist()]
    if missing := sum(value is None for value in found):
        raise CalibrationError(
            f"{missing} of {len(found)} answers have no score of {origin.scorer!r}, which the calibrator was fitted on"
        )
    return np.array(found, dtype=np.float64)


def claim_scores_of(calibrator: IsotonicCalibrator, claims: ClaimAnswers) -> tuple[Floats, Floats]:
    """The score of each claim, and what every claim would have if it took its whole answer's instead, (n,) each.

    The latter ranks only: of the stacked scorer the score of the answer's last claim, of HybridGrad the same
    profile, whose quantile scale is that of these answers. Raises `CalibrationError` as `scores_of`.
    """
    origin = _origin(calibrator)
    if origin.scorer == "stacked":
        readings = claim_readings_of(claims, asking_of(origin))
        last = {group: i for i, group in enumerate(claims.groups.tolist())}
        values = scores_by(origin, readings)
        return values, values[[last[group] for group in claims.groups.tolist()]]
    profile = profile_of(calibrator)
    _, one_each = np.unique(claims.groups, return_index=True)
    return scores(profile, claims.signals), scores(fit(profile, claims.whole.take(one_each)), claims.whole)


def for_calibrator(calibrator: IsotonicCalibrator, answers: Answers) -> Answers:
    """The answers with those alone as scored that the calibrator's scorer has a score of.

    Raises `CalibrationError` where the answers were collected without this scorer.
    """
    scorer = _origin(calibrator).scorer
    return answers if scorer in FROM_READINGS else answers.scored_by(scorer)


def profile_of(calibrator: IsotonicCalibrator) -> Profile:
    """The HybridGrad profile that a calibrator was fitted with. Raises `CalibrationError` where it has none."""
    try:
        return Profile.model_validate(_origin(calibrator).profile)
    except ValueError as error:
        raise CalibrationError(f"the calibrator's profile is not one: {' '.join(str(error).split())[:200]}") from error


def _origin(calibrator: IsotonicCalibrator) -> Provenance:
    if calibrator.provenance is None:
        raise CalibrationError("this calibrator does not say what it was fitted on; fit it with guardrail calibrate")
    return calibrator.provenance
