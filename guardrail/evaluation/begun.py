"""Answers whose beginning was given, as a policy's `retry` has it: a curve of their own, on the calibrator's scorer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from guardrail.calibration.curve_fit import cross_validated_predictions
from guardrail.calibration.metrics import calibration_metrics
from guardrail.calibration.origin import origin_of
from guardrail.runs.scores import for_calibrator, scores_of

if TYPE_CHECKING:
    from guardrail.calibration.isotonic import IsotonicCalibrator
    from guardrail.calibration.record import ContextName
    from guardrail.runs.answers import Answers

CONTEXT: ContextName = "prefix"
"""The name of the curve among a calibrator's contexts."""


def fit_begun(calibrator: IsotonicCalibrator, answers: Answers, prefix: str, *, seed: int = 0) -> IsotonicCalibrator:
    """The calibrator with a curve for answers that begin with `prefix`; its metrics are cross-validated.

    Args:
        calibrator: That of answers which began freely.
        answers: To the same questions, begun with it.
        prefix: How each was made to begin.
        seed: Of the folds and the bootstrap.

    Raises `CalibrationError` for too few answers, or too few right or wrong ones.
    """
    answers, origin = for_calibrator(calibrator, answers), origin_of(calibrator)
    scores, correct = scores_of(calibrator, answers), answers.correct[answers.scored]
    predicted = cross_validated_predictions(scores, correct, seed=seed)
    return calibrator.with_context(
        CONTEXT,
        scores,
        correct,
        scorer=origin.scorer,
        options=origin.scorer_options,
        metrics=calibration_metrics(scores, predicted, correct, seed=seed),
        source={"prefix": prefix},
    )
