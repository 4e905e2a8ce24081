"""Graded answers to new questions -> thresholds with a guarantee, and the proof of it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np

from guardrail.calibration.isotonic import IsotonicCalibrator
from guardrail.calibration.metrics import Estimate, wilson_interval
from guardrail.calibration.origin import through_of
from guardrail.calibration.record import Block
from guardrail.calibration.risk import RiskControl, ThresholdTest, plan_from, risk_controlled_threshold
from guardrail.errors import CalibrationError
from guardrail.evaluation.assess import predictions
from guardrail.evaluation.fit import versions
from guardrail.evaluation.setting import Subject
from guardrail.model.identity import ModelIdentity
from guardrail.policy import Policy
from guardrail.policy.proof import Promise, Proof, ProofModel
from guardrail.runs.answers import Answers


@dataclass(frozen=True, slots=True)
class Routing:
    """A question is asked of a second model where the first is below the threshold; each costs what the operator says.

    Attributes:
        cost_per_call: Of an answer of the first model.
        cost_of_second: Of an answer of the second one.
        escalated: Share of the questions that the second is asked, at the chosen threshold; None where there is none.
        first_alone: The same search, and the same level, for the first model alone.
        second_alone: And for the second alone.
    """

    cost_per_call: float
    cost_of_second: float
    escalated: Estimate | None
    first_alone: RiskControl
    second_alone: RiskControl

    @property
    def cost(self) -> Estimate | None:
        """Expected cost of a question, with the interval that the share of escalated ones gives it."""
        if self.escalated is None:
            return None
        low, value, high = (
            self.cost_per_call + self.cost_of_second * share
            for share in (self.escalated.low, self.escalated.value, self.escalated.high)
        )
        return Estimate(value, low, high, self.escalated.n)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "cost_per_call": self.cost_per_call,
            "cost_of_second": self.cost_of_second,
            "escalated": asdict(self.escalated) if self.escalated else None,
            "cost": asdict(self.cost) if self.cost else None,
            "first_alone": _control(self.first_alone),
            "second_alone": _control(self.second_alone),
        }


@dataclass(frozen=True, slots=True)
class Tuning:
    """What `guardrail.tune` finds.

    Attributes:
        confidence: Probability that all promises hold together.
        answered: The thresholds for showing an answer as it is.
        shown: Those for showing it at all, as it is or hedged; None when that was not asked for.
        questions: Questions asked.
        unscored: Answers without a score, which are shown under no threshold.
        out_of_range: Answers with a score outside the calibrated range, which are shown under no threshold either.
        unlike: Answers to questions unlike those of the calibration, which are not either.
        error_unguarded: Share of all answers that is wrong.
        subject: What the figures are about; None where only thresholds were asked for.
        policy: What `output` holds; None where a target is not reached, and where only thresholds were asked for.
        routing: Of two models, what asking the second costs; None where there is one.
    """

    confidence: float
    answered: RiskControl
    shown: RiskControl | None
    questions: int
    unscored: int
    out_of_range: int
    unlike: int
    error_unguarded: Estimate
    subject: Subject | None = None
    policy: Policy | None = None
    routing: Routing | None = None

    @property
    def controls(self) -> tuple[tuple[str, RiskControl], ...]:
        """What was searched for, with the name of what it is about."""
        return (("answered", self.answered), *((("shown", self.shown),) if self.shown else ()))

    @property
    def reached(self) -> bool:
        """Whether every threshold that was asked for exists."""
        return all(control.chosen for _, control in self.controls)

    @property
    def hedges(self) -> bool:
        """Whether any answer is shown hedged: the second threshold is below the first, and there are answers between."""
        shown, answered = self.shown.chosen if self.shown else None, self.answered.chosen
        return shown is not None and answered is not None and shown.threshold < answered.threshold

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            **(self.subject.to_dict() if self.subject else {}),
            "reached": self.reached,
            "confidence": self.confidence,
            "questions": self.questions,
            "unscored": self.unscored,
            "out_of_range": self.out_of_range,
            "unlike": self.unlike,
            "error_unguarded": asdict(self.error_unguarded),
            **{name: _control(control) for name, control in self.controls},
            **({"routing": self.routing.to_dict()} if self.routing else {}),
        }


def find_thresholds(
    calibrator: IsotonicCalibrator,
    answers: Answers,
    *,
    max_error: float,
    confidence: float,
    hedge_max_error: float | None = None,
) -> Tuning:
    """The laxest threshold for answering, and with `hedge_max_error` the laxest for showing an answer at all.

    calibrator: fitted on other questions. max_error: of the answered ones. hedge_max_error: of those answered or hedged,
    taken together. Each of two searches gets half of 1 - confidence, so that both promises hold together (Bonferroni).

    Raises `CalibrationError` when no answer can be shown, and for rates outside 0 to 1 or in the wrong order.
    """
    if hedge_max_error is not None and not max_error < hedge_max_error < 1:
        raise CalibrationError(
            f"the error rate with hedged answers is {hedge_max_error:g}; it must lie between that of answered ones "
            f"({max_error:g}) and 1"
        )
    confidences = predictions(calibrator, answers)
    showable = np.array(
        [c.p_correct is not None and c.in_range and c.familiar is not False for c in confidences], dtype=np.bool_
    )
    if not showable.any():
        raise CalibrationError(
            f"none of the {len(confidences)} answers has a score within the calibrated range and a question like those of the "
            "calibration, so none can be answered; "
            "calibrate on questions like these"
        )
    p = np.array([c.p_correct for c, ok in zip(confidences, showable, strict=True) if ok], dtype=np.float64)
    plan = plan_from(_blocks_used(calibrator))
    each = confidence if hedge_max_error is None else 1 - (1 - confidence) / 2

    def search(target: float) -> RiskControl:
        return risk_controlled_threshold(
            p, answers.correct[showable], max_error=target, confidence=each, plan=plan, questions=len(confidences)
        )

    return Tuning(
        confidence=confidence,
        answered=search(max_error),
        shown=None if hedge_max_error is None else search(hedge_max_error),
        questions=len(confidences),
        unscored=sum(c.p_correct is None for c in confidences),
        out_of_range=sum(c.p_correct is not None and not c.in_range for c in confidences),
        unlike=sum(c.familiar is False for c in confidences),
        error_unguarded=wilson_interval(int((~answers.correct).sum()), len(confidences)),
    )


def _blocks_used(calibrator: IsotonicCalibrator) -> list[Block]:
    """Whose probabilities are thresholds, surest first: the common curve's; of a chain, those of its kinds of conversation."""
    own = [block for curve in calibrator.contexts.values() for block in curve.blocks]
    used = own if own and through_of(calibrator.provenance) is not None else calibrator.blocks
    return sorted(used, key=lambda block: -block.p_correct)


def proof_of(
    tuning: Tuning,
    calibrator: IsotonicCalibrator,
    name: str,
    model: ModelIdentity,
    *,
    data: str,
    grader: str,
    command: str,
) -> Proof:
    """The proof for a policy file. name: the calibrator's. data: the questions' hash.

    Raises `CalibrationError` when a target was not reached: there is nothing to prove.
    """
    answered = tuning.answered.chosen
    shown = tuning.shown.chosen if tuning.shown and tuning.hedges else None
    if answered is None or not tuning.reached:
        raise CalibrationError("no threshold reaches the target, so there is no proof")
    return Proof(
        confidence=tuning.confidence,
        answered=_promise(tuning.answered, answered),
        shown=_promise(tuning.shown, shown) if tuning.shown and shown else None,
        questions=tuning.questions,
        data=data,
        calibrator=name,
        calibrator_sha256=calibrator.digest,
        familiar=None if calibrator.familiarity is None else True,
        model=ProofModel.model_validate(model.model_dump()),
        grader=grader,
        created=datetime.now(UTC).date().isoformat(),
        command=command,
        versions=versions(),
    )


def _promise(control: RiskControl, chosen: ThresholdTest) -> Promise:
    coverage = control.coverage(chosen)
    return Promise(
        max_error=control.max_error,
        threshold=chosen.threshold,
        n=chosen.n,
        errors=chosen.errors,
        level=chosen.level,
        bound=chosen.bound,
        coverage=coverage.value,
        coverage_low=coverage.low,
        coverage_high=coverage.high,
    )


def _control(control: RiskControl) -> dict[str, Any]:
    return {
        "max_error": control.max_error,
        "confidence": control.confidence,
        "chosen": _test(control, control.chosen),
        "best": _test(control, control.best),
        "tests": [asdict(test) for test in control.tests],
    }


def _test(control: RiskControl, test: ThresholdTest | None) -> dict[str, Any] | None:
    return None if test is None else {**asdict(test), "coverage": asdict(control.coverage(test))}
