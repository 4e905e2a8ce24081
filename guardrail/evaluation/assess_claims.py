"""A calibrator of claims on answers it has not seen, against one score for the whole answer. No files, no screens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from guardrail.calibration.claim_risk import lost_of
from guardrail.calibration.controls import Controls
from guardrail.calibration.isotonic import IsotonicCalibrator
from guardrail.calibration.labels import label_for
from guardrail.calibration.metrics import (
    Estimate,
    Floats,
    ReliabilityBin,
    TopLabels,
    accuracy,
    auroc,
    bootstrap_difference,
    bootstrap_interval,
    calibration_metrics,
    reliability_table,
    top_labels_share_and_accuracy,
)
from guardrail.calibration.metrics import aurc as aurc_of
from guardrail.calibration.skill import brier_skill
from guardrail.errors import CalibrationError
from guardrail.evaluation.assess import calibration_dict, ece_calibrated, unlike_share
from guardrail.evaluation.controls import TextReader
from guardrail.evaluation.report import Verdict, promise_verdict
from guardrail.evaluation.said import said_of_claims
from guardrail.evaluation.setting import Subject
from guardrail.policy import Policy
from guardrail.runs.claim_answers import ClaimAnswers
from guardrail.runs.scores import claim_scores_of, for_calibrator
from guardrail.types import CLAIM_ACTIONS, ClaimAction, Confidence, Score


@dataclass(frozen=True, slots=True)
class ClaimOutcome:
    """What a policy would have done with the claims, without a retriever: how many by action, and the share that is right.

    actions: claims by action. right: None for an action that none had; intervals by answers. lost: share of the answers that
    keep a wrong claim, with its exact interval. promised: the most of them that the policy's file promises, and promise: what
    became of that; None where it promises nothing.
    """

    policy: str
    actions: dict[ClaimAction, int]
    right: dict[ClaimAction, Estimate | None]
    lost: Estimate | None = None
    promised: float | None = None
    promise: Verdict | None = None


@dataclass(frozen=True, slots=True, eq=False)
class ClaimAssessment:
    """What `guardrail.evaluate` finds of claims; every 95 % interval draws whole answers.

    Attributes:
        n: Claims that are graded and scored: those of all figures.
        answers: Answers that the claims come from.
        left_out: Claims in no figure, by reason.
        out_of_range: Claims whose score lies outside the calibrated range.
        unlike: Share of them about questions unlike those of the calibration; None where the calibrator does not know them.
        ece_calibrated: ECE of the n whose basis is "calibrated"; None where there is none.
        metrics: accuracy, auroc, aurc, brier, ece and brier_skill.
        whole_auroc: AUROC of the baseline, which gives every claim its whole answer's score (`claim_scores_of`). Only
            rankings are compared: the baseline has no calibrator for claims.
        whole_aurc: AURC of the baseline.
        difference: AUROC by claim minus the baseline's, paired.
        top_labels: How many are labelled high or very high, and how many of those are right.
        reliability: What was said against what was right, by confidence.
        policies: What each policy would have done with the claims.
        controls: What readers of the texts alone tell of these claims, fitted on them by cross-validation; None where that was
            not measured.
        subject: What the figures are about; None where only the figures were asked for.
    """

    n: int
    answers: int
    left_out: dict[str, int]
    out_of_range: int
    unlike: Estimate | None
    ece_calibrated: Estimate | None
    metrics: dict[str, Estimate]
    whole_auroc: Estimate
    whole_aurc: Estimate
    difference: Estimate
    top_labels: TopLabels
    reliability: tuple[ReliabilityBin, ...]
    policies: tuple[ClaimOutcome, ...]
    controls: Controls | None = None
    subject: Subject | None = None

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            **(self.subject.to_dict() if self.subject else {}),
            "unit": "claim",
            "n": self.n,
            "answers": self.answers,
            "left_out": self.left_out,
            "out_of_range": self.out_of_range,
            "unlike": asdict(self.unlike) if self.unlike else None,
            "ece_calibrated": asdict(self.ece_calibrated) if self.ece_calibrated else None,
            **{name: asdict(e) for name, e in self.metrics.items()},
            "whole_answer": {"auroc": asdict(self.whole_auroc), "aurc": asdict(self.whole_aurc)},
            "auroc_difference": asdict(self.difference),
            **calibration_dict(self.top_labels, self.reliability),
            "policies": [asdict(p) for p in self.policies],
            **({"controls": self.controls.to_dict()} if self.controls else {}),
        }


def assess_claims(
    calibrator: IsotonicCalibrator,
    answers: ClaimAnswers,
    policies: Sequence[Policy],
    *,
    reader: TextReader | None = None,
    seed: int = 0,
) -> ClaimAssessment:
    """Measure a calibrator on graded claims of the model it was fitted on. reader: measures the controls, too.

    Raises `CalibrationError` when no claim is scored and graded, or all are right or all wrong.
    """
    answers = for_calibrator(calibrator, answers)
    correct, groups = answers.correct, answers.groups
    if len(correct) == 0:
        raise CalibrationError(f"none of the claims could be scored and graded: {answers.left_out}")
    values, whole = claim_scores_of(calibrator, answers)
    confidences = said_of_claims(calibrator, values, answers)
    p: Floats = np.array([c.p_correct for c in confidences])
    return ClaimAssessment(
        n=len(correct),
        answers=len(np.unique(groups)),
        left_out=answers.left_out,
        out_of_range=sum(not c.in_range for c in confidences),
        unlike=unlike_share(confidences),
        ece_calibrated=ece_calibrated(confidences, correct, seed=seed, groups=groups),
        metrics=calibration_metrics(1 - p, p, correct, seed=seed, groups=groups)
        | {"brier_skill": bootstrap_interval(brier_skill, p, correct, seed=seed, groups=groups)},
        whole_auroc=bootstrap_interval(auroc, whole, correct, seed=seed, groups=groups),
        whole_aurc=bootstrap_interval(aurc_of, whole, correct, seed=seed, groups=groups),
        difference=bootstrap_difference(auroc, (1 - p, correct), (whole, correct), seed=seed, groups=groups),
        top_labels=top_labels_share_and_accuracy(p, correct),
        reliability=reliability_table(p, correct),
        policies=tuple(claim_outcome(policy, confidences, answers, seed=seed) for policy in policies),
        controls=reader.of_claims(answers, 1 - p, seed=seed) if reader else None,
    )


def claim_outcomes(
    policies: Sequence[Policy], p_correct: Floats, answers: ClaimAnswers, *, seed: int = 0
) -> tuple[ClaimOutcome, ...]:
    """What each policy would have done with every claim that has one of these probabilities, (n,)."""
    confidences = [Confidence(p, p, p, label_for(p)) for p in p_correct.tolist()]
    return tuple(claim_outcome(policy, confidences, answers, seed=seed) for policy in policies)


def actions_on(policy: Policy, confidences: Sequence[Confidence], answers: ClaimAnswers) -> list[ClaimAction]:
    """What `policy` would do with each claim, without a retriever. confidences: of the claims, (n,)."""
    return [
        policy.decide_claim(c, _score_of(claim), kind=claim["kind"], retriever=False).action
        for c, claim in zip(confidences, answers.claims, strict=True)
    ]


def claim_outcome(
    policy: Policy, confidences: Sequence[Confidence], answers: ClaimAnswers, *, seed: int = 0
) -> ClaimOutcome:
    """What `policy` would have done with each claim."""
    taken = np.array(actions_on(policy, confidences, answers))
    right: dict[ClaimAction, Estimate | None] = {}
    for action in CLAIM_ACTIONS:
        at = taken == action
        right[action] = (
            bootstrap_interval(accuracy, answers.correct[at], seed=seed, groups=answers.groups[at])
            if at.any()
            else None
        )
    lost = lost_of(taken == "keep", answers.correct, answers.groups)
    proof = policy.claims_proof
    promised = (
        None if proof is None or proof.confidence is None else 1 - proof.all_right
    )  # an average is no promise of this one
    return ClaimOutcome(
        policy.name,
        {action: int((taken == action).sum()) for action in CLAIM_ACTIONS},
        right,
        lost,
        promised,
        None if promised is None else promise_verdict(promised, lost),
    )


def _score_of(claim: dict[str, Any]) -> Score:
    """What a policy sees of a claim's score: that there is one, and the length."""
    length = len(claim["entropies"]) if "entropies" in claim else claim["token_end"] - claim["token_start"]
    return Score(0.0, 0.0, 0.0, 0.0, 0.0, length)
