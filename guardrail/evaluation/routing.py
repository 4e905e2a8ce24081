"""Graded answers of two models to the same questions -> the threshold at which asking the second costs least, with a proof.

One threshold for both: what the first model answers below it is asked of the second, and what that answers below it is
withheld. The lower the threshold, the fewer questions are asked twice, so the cheapest one is the lowest whose error rate is
still bounded: fixed-sequence testing as for one model (guardrail.calibration.risk), on counts of what either of them answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from guardrail.calibration.isotonic import IsotonicCalibrator
from guardrail.calibration.metrics import Estimate, wilson_interval
from guardrail.calibration.risk import Plan, RiskControl, plan_from, risk_of_counts
from guardrail.errors import CalibrationError, DataError
from guardrail.evaluation.assess import predictions
from guardrail.evaluation.tuning import Routing, Tuning, proof_of
from guardrail.model.identity import ModelIdentity
from guardrail.policy.proof import Proof, ProofModel, SecondProven
from guardrail.runs.answers import Answers

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Told:
    """The answers of one model. p: p_correct where an answer may be shown at all, -1 elsewhere, (n,). correct: (n,)."""

    p: Floats
    correct: Bools
    scored: Bools

    @classmethod
    def of(cls, calibrator: IsotonicCalibrator, answers: Answers, *, familiar: bool) -> Told:
        """familiar: whether only answers to questions like those of the calibration may be shown."""
        confidences = predictions(calibrator, answers)
        p = [
            c.p_correct if c.p_correct is not None and c.in_range and (c.familiar or not familiar) else -1.0
            for c in confidences
        ]
        scored = [c.p_correct is not None for c in confidences]
        return cls(np.array(p, dtype=np.float64), answers.correct, np.array(scored, dtype=np.bool_))


def both_familiar(first: IsotonicCalibrator, second: IsotonicCalibrator) -> bool:
    """Whether the policy can ask for questions like those of the calibration: both have to know theirs."""
    return first.familiarity is not None and second.familiarity is not None


def find_route(
    calibrators: tuple[IsotonicCalibrator, IsotonicCalibrator],
    answers: tuple[Answers, Answers],
    *,
    max_error: float,
    confidence: float,
    cost_per_call: float,
    cost_of_second: float,
) -> Tuning:
    """The lowest threshold at which few enough of what either model answers is wrong.

    calibrators: of the first and of the second model, fitted on other questions. answers: of both, to the same questions in
    the same order.

    Raises `CalibrationError` where no answer can be shown, and `DataError` for answers to different questions.
    """
    if [r["question"] for r in answers[0].records] != [r["question"] for r in answers[1].records]:
        raise DataError("the two models have answered different questions; start both runs anew")
    familiar = both_familiar(*calibrators)
    first, second = (Told.of(c, a, familiar=familiar) for c, a in zip(calibrators, answers, strict=True))
    n, plan = len(first.p), plan_from(calibrators[0].blocks)
    if max(first.p.max(initial=-1), second.p.max(initial=-1)) < 0:
        raise CalibrationError(
            f"none of the {n} questions has an answer with a score within the calibrated range and like those of the "
            "calibration, so none can be answered; calibrate both models on questions like these"
        )
    nobody = replace(second, p=np.full(n, -1.0))
    asked: dict[str, Any] = {"max_error": max_error, "confidence": confidence, "plan": plan}
    found, alone, always = (searched(a, b, **asked) for a, b in ((first, second), (first, nobody), (second, nobody)))
    chosen = found.chosen
    shown = (first.p >= 0) | (second.p >= 0)
    scored = first.scored | second.scored
    return Tuning(
        confidence=confidence,
        answered=found,
        shown=None,
        questions=n,
        unscored=int((~scored).sum()),
        out_of_range=int((scored & ~shown).sum()),
        unlike=0,
        error_unguarded=wilson_interval(int((~first.correct).sum()), n),
        routing=Routing(
            cost_per_call=cost_per_call,
            cost_of_second=cost_of_second,
            escalated=None if chosen is None else escalated(first, chosen.threshold),
            first_alone=alone,
            second_alone=always,
        ),
    )


def searched(first: Told, second: Told, *, max_error: float, confidence: float, plan: Plan) -> RiskControl:
    """The search over the plan's thresholds, on what either model answers."""
    counts = [_answered(first, second, threshold) for threshold in plan.thresholds]
    return risk_of_counts(counts, max_error=max_error, confidence=confidence, plan=plan, questions=len(first.p))


def escalated(first: Told, threshold: float) -> Estimate:
    """The share of the questions that the first model does not answer at this threshold."""
    return wilson_interval(int((first.p < threshold).sum()), len(first.p))


def _answered(first: Told, second: Told, threshold: float) -> tuple[int, int]:
    """How many questions either answers from this threshold on, and how many of these wrongly."""
    by_first = first.p >= threshold
    by_second = ~by_first & (second.p >= threshold)
    wrong = (by_first & ~first.correct) | (by_second & ~second.correct)
    return int((by_first | by_second).sum()), int(wrong.sum())


def route_proof(
    found: Tuning,
    calibrators: tuple[IsotonicCalibrator, IsotonicCalibrator],
    names: Sequence[str],
    models: tuple[ModelIdentity, ModelIdentity],
    **told: str,
) -> Proof:
    """The proof of a route. told: as for `proof_of`. Raises `CalibrationError` where no threshold reaches the target."""
    proof = proof_of(found, calibrators[0], names[0], models[0], **told)
    routing = found.routing
    if routing is None or routing.escalated is None:
        raise CalibrationError("there is no second model in this search; use proof_of")
    second = SecondProven(
        calibrator=names[1],
        calibrator_sha256=calibrators[1].digest,
        model=ProofModel.model_validate(models[1].model_dump()),
        escalated=round(routing.escalated.value * found.questions),
        cost_per_call=routing.cost_per_call,
        cost_of_second=routing.cost_of_second,
    )
    return proof.model_copy(update={"second": second, "familiar": True if both_familiar(*calibrators) else None})
