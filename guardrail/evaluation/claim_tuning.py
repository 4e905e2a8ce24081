"""Graded claims of new answers -> a threshold with a guarantee, what it keeps, and the proof of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np

from guardrail.calibration.claim_risk import ClaimControl, ClaimTest, claim_risk_threshold
from guardrail.calibration.isotonic import IsotonicCalibrator
from guardrail.calibration.metrics import Bools, Floats
from guardrail.calibration.risk import thresholds_of
from guardrail.errors import CalibrationError
from guardrail.evaluation.fit import versions
from guardrail.evaluation.kept_claims import Kept, kept_by_kind, kept_of
from guardrail.evaluation.setting import Subject
from guardrail.grading.facts import GRADED_BY
from guardrail.model.identity import ModelIdentity
from guardrail.policy import ClaimsProof, Policy
from guardrail.policy.proof import ProofModel
from guardrail.runs.claim_answers import ClaimAnswers
from guardrail.runs.scores import claim_scores_of, for_calibrator


@dataclass(frozen=True, slots=True)
class ClaimTuning:
    """What `guardrail.tune_claims` finds.

    Attributes:
        control: The thresholds tested.
        questions: Questions asked.
        answers: Answers with a claim that is graded and scored: those that are counted.
        left_out: Claims in no figure, by reason.
        out_of_range: Claims outside the calibrated range, which are kept under no threshold.
        unlike: Claims about questions unlike those of the calibration, which are not either.
        unguarded: What keeping every claim comes to.
        kept: What the threshold keeps; None where the target is not reached.
        groups: The same by kind of question, where the data name kinds. The promise is about all of them together.
        subject: What the figures are about; None where only a threshold was asked for.
        policy: What `output` holds; None where the target is not reached, and where only a threshold was asked for.
    """

    control: ClaimControl
    questions: int
    answers: int
    left_out: dict[str, int]
    out_of_range: int
    unlike: int
    unguarded: Kept
    kept: Kept | None
    groups: dict[str, Kept]
    subject: Subject | None = None
    policy: Policy | None = None

    @property
    def reached(self) -> bool:
        """Whether there is a threshold that keeps something and the promise."""
        return self.control.chosen is not None

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        control = self.control
        return {
            **(self.subject.to_dict() if self.subject else {}),
            "unit": "claim",
            "reached": self.reached,
            "all_right": control.all_right,
            "confidence": control.confidence,
            "questions": self.questions,
            "answers": self.answers,
            "left_out": self.left_out,
            "out_of_range": self.out_of_range,
            "unlike": self.unlike,
            "chosen": _test(control.chosen),
            "best": _test(control.best),
            "unguarded": asdict(self.unguarded),
            "kept": asdict(self.kept) if self.kept else None,
            "groups": {name: asdict(kept) for name, kept in self.groups.items()},
            "tests": [asdict(test) for test in control.tests],
        }


def find_claim_threshold(
    calibrator: IsotonicCalibrator,
    answers: ClaimAnswers,
    *,
    all_right: float,
    confidence: float | None = 0.95,
    kinds: Sequence[str] = (),
    seed: int = 0,
) -> ClaimTuning:
    """The laxest threshold on claims at which at least `all_right` of the answers keep no wrong claim.

    calibrator: of claims, fitted on other questions. confidence: None promises an average. kinds: of the answers' questions,
    for the figures by group; none, or all of them. seed: of the bootstrap.

    Raises `CalibrationError` where no claim may be kept at all, and for numbers outside 0 to 1.
    """
    answers = for_calibrator(calibrator, answers)
    if len(answers.correct) == 0:
        raise CalibrationError(f"none of the claims could be scored and graded: {answers.left_out}")
    values, _ = claim_scores_of(calibrator, answers)
    confidences = [
        calibrator.predict(value, claim.get("familiarity"))
        for value, claim in zip(values.tolist(), answers.claims, strict=True)
    ]
    showable: Bools = np.array(
        [c.p_correct is not None and c.in_range and c.familiar is not False for c in confidences], dtype=np.bool_
    )
    if not showable.any():
        raise CalibrationError(
            f"none of the {len(confidences)} claims has a score within the calibrated range and a question like those of the "
            "calibration, so none can be kept; calibrate on questions like these"
        )
    p: Floats = np.array([c.p_correct for c in confidences], dtype=np.float64)
    count = len(np.unique(answers.groups))
    control = claim_risk_threshold(
        p[showable],
        answers.correct[showable],
        answers.groups[showable],
        answers=count,
        all_right=all_right,
        confidence=confidence,
        thresholds=tuple(thresholds_of(calibrator.blocks)),
    )
    chosen = control.chosen
    everything = np.ones(len(p), dtype=np.bool_)
    kept = showable & (p >= chosen.threshold) if chosen else np.zeros_like(everything)
    return ClaimTuning(
        control=control,
        questions=len(answers.records),
        answers=count,
        left_out=answers.left_out,
        out_of_range=sum(not c.in_range for c in confidences),
        unlike=sum(c.familiar is False for c in confidences),
        unguarded=kept_of(everything, answers.correct, answers.groups, seed=seed),
        kept=kept_of(kept, answers.correct, answers.groups, seed=seed) if chosen else None,
        groups=kept_by_kind(kept, answers, kinds, seed=seed) if chosen else {},
    )


def claims_proof_of(
    tuning: ClaimTuning, calibrator: IsotonicCalibrator, name: str, model: ModelIdentity, *, data: str, command: str
) -> ClaimsProof:
    """The proof for a policy file. name: the calibrator's. data: the hash of questions and facts.

    Raises `CalibrationError` when the target was not reached: there is nothing to prove.
    """
    chosen, kept = tuning.control.chosen, tuning.kept
    if chosen is None or kept is None:
        raise CalibrationError("no threshold reaches the target, so there is no proof")
    return ClaimsProof(
        all_right=tuning.control.all_right,
        confidence=tuning.control.confidence,
        threshold=chosen.threshold,
        n=chosen.n,
        errors=chosen.errors,
        bound=chosen.bound,
        claims=kept.claims,
        kept=kept.kept,
        right=kept.right,
        right_kept=kept.right_kept,
        retention_low=kept.retention.low,
        retention_high=kept.retention.high,
        questions=tuning.questions,
        data=data,
        calibrator=name,
        calibrator_sha256=calibrator.digest,
        familiar=None if calibrator.familiarity is None else True,
        model=ProofModel.model_validate(model.model_dump()),
        grader=GRADED_BY,
        created=datetime.now(UTC).date().isoformat(),
        command=command,
        versions=versions(),
    )


def _test(test: ClaimTest | None) -> dict[str, Any] | None:
    return None if test is None else asdict(test)
