"""A finished run of claims, a calibrator and policies -> every number of a report about claims."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from guardrail.calibration.claim_risk import worst_of
from guardrail.calibration.controls import Controls
from guardrail.calibration.isotonic import IsotonicCalibrator
from guardrail.calibration.label_errors import LabelErrors
from guardrail.calibration.metrics import (
    Bools,
    Estimate,
    Floats,
    ReliabilityBin,
    bootstrap_interval,
    ece,
    reliability_table,
)
from guardrail.calibration.provenance import Unit
from guardrail.calibration.risk import exact_interval
from guardrail.errors import DataError
from guardrail.evaluation.assess_claims import ClaimAssessment, ClaimOutcome, actions_on, assess_claims, claim_outcome
from guardrail.evaluation.controls import TextReader
from guardrail.evaluation.kept_claims import Kept, kept_by_kind, kept_of
from guardrail.evaluation.said import said_of_claims
from guardrail.policy import ClaimsProof, Policy
from guardrail.runs.claim_answers import ClaimAnswers
from guardrail.runs.readings import log_prob_of
from guardrail.runs.scores import claim_scores_of, for_calibrator
from guardrail.types import Confidence


@dataclass(frozen=True, slots=True)
class ClaimPolicyCheck:
    """What a policy would have done with the claims, without a retriever, and whether what its file promises held.

    kept: what the claims that it keeps come to; groups: the same by kind of question, where kinds are named. own_data: the run
    has the very questions on which the promise was found, so that keeping it here shows nothing.
    """

    policy: Policy
    outcome: ClaimOutcome
    kept: Kept
    groups: dict[str, Kept]
    own_data: bool

    @property
    def proof(self) -> ClaimsProof | None:
        """What the policy's file promises."""
        return self.policy.claims_proof

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            **asdict(self.outcome),
            "kept": asdict(self.kept),
            "groups": {name: asdict(kept) for name, kept in self.groups.items()},
            "own_data": self.own_data,
        }


@dataclass(frozen=True, slots=True, eq=False)
class KeptCurve:
    """Keeping the claims with the highest confidence, at every threshold on it, (m,) each, from the strictest down.

    kept: share of the claims. lost: share of the answers that keep a wrong claim; low, high: exact 95 % interval of each point
    by itself, over answers.
    """

    threshold: Floats
    kept: Floats
    lost: Floats
    low: Floats
    high: Floats


@dataclass(frozen=True, slots=True, eq=False)
class ClaimReport:
    """Every number of a report about claims, over the n that are graded and scored.

    answers: with those claims; confidences, score, p_correct: of each claim, (n,). own: exp(mean log-probability of a claim's
    tokens), the model's own probability. assessment: what `guardrail.evaluate` says of the same claims. Intervals draw whole
    answers.
    """

    answers: ClaimAnswers
    calibrator: IsotonicCalibrator
    confidences: tuple[Confidence, ...]
    score: Floats
    p_correct: Floats
    own: Floats
    own_ece: Estimate
    own_reliability: tuple[ReliabilityBin, ...]
    curve: KeptCurve
    policies: tuple[ClaimPolicyCheck, ...]
    assessment: ClaimAssessment
    draws: int
    seed: int

    @property
    def unit(self) -> Unit:
        """What one probability is about."""
        return "claim"

    @property
    def correct(self) -> Bools:
        return self.answers.correct

    @property
    def metrics(self) -> dict[str, Estimate]:
        return self.assessment.metrics

    @property
    def undefined(self) -> dict[str, str]:
        """Nothing: claims that are all right, or all wrong, are refused."""
        return {}

    @property
    def reliability(self) -> tuple[ReliabilityBin, ...]:
        return self.assessment.reliability

    @property
    def unscored(self) -> int:
        return self.answers.left_out["unscored"]

    @property
    def out_of_range(self) -> int:
        return self.assessment.out_of_range

    @property
    def controls(self) -> Controls | None:
        return self.assessment.controls

    @property
    def label_errors(self) -> LabelErrors | None:
        """Nothing: how often the rules for claims err was not measured against people."""
        return None

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready: every figure; not the answers, nor the curve's points."""
        return {
            **self.assessment.to_dict(),
            "own_ece": asdict(self.own_ece),
            "policies": [check.to_dict() for check in self.policies],
        }


def measure_claim_run(
    calibrator: IsotonicCalibrator,
    answers: ClaimAnswers,
    policies: Sequence[Policy],
    *,
    data: str,
    kinds: Sequence[str] = (),
    reader: TextReader | None = None,
    seed: int = 0,
) -> ClaimReport:
    """Measure everything that a report about claims shows. data: the hash of the run's questions and facts, to know those of a
    promise again. kinds: of the answers' questions, in the order of the run. reader: measures the controls, too.

    Raises `CalibrationError` when no claim is scored and graded, or all are right or all wrong, and `DataError` for a policy
    that keeps claims about familiar questions alone, of a run that does not say what its questions look like.
    """
    told = any("familiarity" in claim for claim in answers.claims)
    for policy in policies:
        if policy.claims_proof is not None and policy.claims_proof.familiar and not told:
            raise DataError(
                f"policy {policy.name!r} keeps only claims about questions like those of the calibration, and the run does not "
                "hold what its questions look like, or asked them otherwise, so that its promise cannot be checked; make the "
                "run again: guardrail evaluate DATA.jsonl --unit claim --no-cache --run FILE"
            )
    assessment = assess_claims(calibrator, answers, (), reader=reader, seed=seed)
    answers = for_calibrator(calibrator, answers)
    score, _ = claim_scores_of(calibrator, answers)
    confidences = said_of_claims(calibrator, score, answers)
    p: Floats = np.array([c.p_correct for c in confidences], dtype=np.float64)
    own: Floats = np.clip(np.exp(log_prob_of(answers.claims)), 0.0, 1.0)
    return ClaimReport(
        answers=answers,
        calibrator=calibrator,
        confidences=tuple(confidences),
        score=score,
        p_correct=p,
        own=own,
        own_ece=bootstrap_interval(ece, own, answers.correct, seed=seed, groups=answers.groups),
        own_reliability=reliability_table(own, answers.correct),
        curve=kept_curve(p, answers),
        policies=tuple(check_claim_policy(one, confidences, answers, data, kinds, seed=seed) for one in policies),
        assessment=assessment,
        draws=1000,
        seed=seed,
    )


def kept_curve(p_correct: Floats, answers: ClaimAnswers) -> KeptCurve:
    """What keeping the surest claims costs. p_correct: of the claims, (n,)."""
    threshold = np.unique(p_correct)[::-1]
    worst, n = worst_of(p_correct, answers.correct, answers.groups), len(np.unique(answers.groups))
    lost = [exact_interval(int((worst >= t).sum()), n) for t in threshold.tolist()]
    return KeptCurve(
        threshold=threshold,
        kept=np.array([(p_correct >= t).mean() for t in threshold.tolist()]),
        lost=np.array([e.value for e in lost]),
        low=np.array([e.low for e in lost]),
        high=np.array([e.high for e in lost]),
    )


def check_claim_policy(
    policy: Policy,
    confidences: Sequence[Confidence],
    answers: ClaimAnswers,
    data: str,
    kinds: Sequence[str] = (),
    *,
    seed: int = 0,
) -> ClaimPolicyCheck:
    """What the policy would have done with each claim, and whether what its file promises held. data, kinds: of the run."""
    kept: Bools = np.array([action == "keep" for action in actions_on(policy, confidences, answers)], dtype=np.bool_)
    return ClaimPolicyCheck(
        policy=policy,
        outcome=claim_outcome(policy, confidences, answers, seed=seed),
        kept=kept_of(kept, answers.correct, answers.groups, seed=seed),
        groups=kept_by_kind(kept, answers, kinds, seed=seed),
        own_data=policy.claims_proof is not None and policy.claims_proof.data == data,
    )
