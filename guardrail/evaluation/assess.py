"""A calibrator on questions it has not seen: ranking, calibration, what policies would have done. No files, no screens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from guardrail.calibration.chance import ece_of_chance
from guardrail.calibration.controls import Controls
from guardrail.calibration.folds import Groups
from guardrail.calibration.isotonic import IsotonicCalibrator
from guardrail.calibration.label_errors import LabelErrors
from guardrail.calibration.labels import label_for
from guardrail.calibration.metrics import (
    Bools,
    Estimate,
    Floats,
    ReliabilityBin,
    TopLabels,
    bootstrap_interval,
    calibration_metrics,
    ece,
    reliability_table,
    top_labels_share_and_accuracy,
    wilson_interval,
)
from guardrail.calibration.skill import brier_skill
from guardrail.errors import CalibrationError
from guardrail.evaluation.controls import TextReader, grader_errors
from guardrail.evaluation.said import said_of
from guardrail.evaluation.setting import Subject
from guardrail.evaluation.with_evidence import WithEvidence
from guardrail.policy import Policy
from guardrail.runs.answers import Answers
from guardrail.runs.scores import for_calibrator, scores_of
from guardrail.types import ACTIONS, Action, Confidence, Evidence, Score


@dataclass(frozen=True, slots=True)
class PolicyOutcome:
    """What a policy would have done with the answers, without a retriever (its retrieve rules are passed over).

    actions: answers by action. coverage: share that is shown to the user, as is or hedged; answered: as is alone. error:
    share of wrong answers among those answered as is; error_shown: among answered and hedged ones; None if there are none.
    """

    policy: str
    actions: dict[Action, int]
    coverage: Estimate
    answered: Estimate
    error: Estimate | None
    error_shown: Estimate | None


@dataclass(frozen=True, slots=True, eq=False)
class Assessment:
    """What `guardrail.evaluate` finds of whole answers.

    Attributes:
        n: Answers.
        unscored: Answers without a score.
        out_of_range: Answers whose score lies outside the calibrated range.
        unlike: Share of them whose question is unlike those of the calibration; None where the calibrator does not know them.
        ece_calibrated: ECE of the n whose basis is "calibrated"; None where there is none.
        ece_by_chance: The mean ECE, and the range of 95 %, that so many answers would show if the probabilities of those were
            true; None where there is none.
        metrics: accuracy, auroc, aurc, brier, ece and brier_skill with 95 % intervals, over the scored answers.
        top_labels: How many are labelled high or very high, and how many of those are right.
        reliability: What was said against what was right, by confidence.
        error_unguarded: Share of all answers that is wrong.
        policies: What each policy would have done, over all answers.
        evidence: What was found of the same questions with passages, where they were asked with some.
        controls: What readers of the texts alone tell of these answers, fitted on them by cross-validation; None where that was
            not measured.
        label_errors: What the figures would be if the grader errs here as it does elsewhere; None where that is not known.
        subject: What the figures are about; None where only the figures were asked for.
    """

    n: int
    unscored: int
    out_of_range: int
    unlike: Estimate | None
    ece_calibrated: Estimate | None
    metrics: dict[str, Estimate]
    top_labels: TopLabels
    reliability: tuple[ReliabilityBin, ...]
    error_unguarded: Estimate
    policies: tuple[PolicyOutcome, ...]
    evidence: WithEvidence | None = None
    controls: Controls | None = None
    label_errors: LabelErrors | None = None
    ece_by_chance: Estimate | None = None
    subject: Subject | None = None

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            **(self.subject.to_dict() if self.subject else {}),
            "n": self.n,
            "unscored": self.unscored,
            "out_of_range": self.out_of_range,
            "unlike": asdict(self.unlike) if self.unlike else None,
            "ece_calibrated": asdict(self.ece_calibrated) if self.ece_calibrated else None,
            "ece_by_chance": asdict(self.ece_by_chance) if self.ece_by_chance else None,
            **{name: asdict(e) for name, e in self.metrics.items()},
            **calibration_dict(self.top_labels, self.reliability),
            "error_unguarded": asdict(self.error_unguarded),
            "policies": [asdict(p) for p in self.policies],
            **({"evidence": self.evidence.to_dict()} if self.evidence else {}),
            **({"controls": self.controls.to_dict()} if self.controls else {}),
            **({"label_errors": self.label_errors.to_dict()} if self.label_errors else {}),
        }


def calibration_dict(top: TopLabels, bins: Sequence[ReliabilityBin]) -> dict[str, Any]:
    """JSON-ready."""
    return {
        "top_labels": {"share": asdict(top.share), "accuracy": asdict(top.accuracy) if top.accuracy else None},
        "reliability": [
            {"low": b.low, "high": b.high, "mean_p": b.mean_p, "accuracy": asdict(b.accuracy)} for b in bins
        ],
    }


def assess(
    calibrator: IsotonicCalibrator,
    answers: Answers,
    policies: Sequence[Policy],
    *,
    reader: TextReader | None = None,
    seed: int = 0,
) -> Assessment:
    """Measure a calibrator on graded answers of the model it was fitted on. reader: measures the controls, too.

    Raises `CalibrationError` when no answer is scored, or all are right or all wrong.
    """
    answers = for_calibrator(calibrator, answers)
    correct = answers.correct[answers.scored]
    if len(correct) == 0:
        raise CalibrationError("none of the answers could be scored")
    confidences = predictions(calibrator, answers)
    known = [confidences[i] for i in answers.scored]
    p: Floats = np.array([c.p_correct for c in known])
    return Assessment(
        n=len(answers.records),
        unscored=len(answers.records) - len(correct),
        out_of_range=sum(not c.in_range for c in known),
        unlike=unlike_share(known),
        ece_calibrated=ece_calibrated(known, correct, seed=seed),
        metrics=calibration_metrics(1 - p, p, correct, seed=seed)
        | {"brier_skill": bootstrap_interval(brier_skill, p, correct, seed=seed)},
        top_labels=top_labels_share_and_accuracy(p, correct),
        reliability=reliability_table(p, correct),
        error_unguarded=_share(~answers.correct),
        policies=tuple(outcome(policy, confidences, answers) for policy in policies),
        controls=reader.of_answers(answers, 1 - p, seed=seed) if reader else None,
        label_errors=grader_errors(answers.grading, p, correct),
        ece_by_chance=ece_of_chance(kept, seed=seed) if len(kept := p[calibrated(known)]) else None,
    )


def predictions(calibrator: IsotonicCalibrator, answers: Answers) -> list[Confidence]:
    """The confidence of every answer; unscored ones have none, with the reason."""
    answers = for_calibrator(calibrator, answers)
    out = [Confidence.none(str(record["unscored"])) for record in answers.records]
    for i, value in zip(answers.scored.tolist(), scores_of(calibrator, answers).tolist(), strict=True):
        out[i] = said_of(calibrator, value, answers.records[i])
    return out


def unlike_share(confidences: Sequence[Confidence]) -> Estimate | None:
    """The share that is about questions unlike those of the calibration, of those of which that is known; None without any."""
    known = [not c.familiar for c in confidences if c.familiar is not None]
    return wilson_interval(sum(known), len(known)) if known else None


def ece_calibrated(
    confidences: Sequence[Confidence], correct: Bools, *, seed: int = 0, groups: Groups | None = None
) -> Estimate | None:
    """ECE of those whose basis is "calibrated"; None without any. correct, groups: (n,), as for `calibration_metrics`."""
    said = calibrated(confidences)
    if not said.any():
        return None
    p: Floats = np.array([c.p_correct for c in confidences])[said]
    return bootstrap_interval(ece, p, correct[said], seed=seed, groups=None if groups is None else groups[said])


def calibrated(confidences: Sequence[Confidence]) -> Bools:
    """Which of them are called calibrated, (n,)."""
    return np.array([c.basis == "calibrated" for c in confidences], dtype=np.bool_)


def outcomes(policies: Sequence[Policy], p_correct: Floats, answers: Answers) -> tuple[PolicyOutcome, ...]:
    """What each policy would have done with every answer, the scored ones having these probabilities, (n,)."""
    confidences = [Confidence.none(str(record["unscored"])) for record in answers.records]
    for i, p in zip(answers.scored.tolist(), p_correct.tolist(), strict=True):
        confidences[i] = Confidence(p, p, p, label_for(p))
    return tuple(outcome(policy, confidences, answers) for policy in policies)


def outcome(policy: Policy, confidences: Sequence[Confidence], answers: Answers) -> PolicyOutcome:
    """What `policy` would have done with each answer, given with the passages that stood in its prompt."""
    taken = np.array(
        [
            policy.decide(
                c,
                _score_of(r),
                evidence=[Evidence(text) for text in r.get("passages", ())],
                finish_reason=r["finish_reason"],
                retriever=False,
            ).action
            for c, r in zip(confidences, answers.records, strict=True)
        ]
    )
    answered, shown = taken == "answer", (taken == "answer") | (taken == "hedge")
    return PolicyOutcome(
        policy=policy.name,
        actions={action: int((taken == action).sum()) for action in ACTIONS},
        coverage=_share(shown),
        answered=_share(answered),
        error=_share(~answers.correct[answered]) if answered.any() else None,
        error_shown=_share(~answers.correct[shown]) if shown.any() else None,
    )


def _share(hits: Any) -> Estimate:
    return wilson_interval(int(hits.sum()), len(hits))


def _score_of(record: dict[str, Any]) -> Score:
    """What a policy sees of a score: whether there is one, and the length."""
    if record["unscored"] is not None:
        return Score.none(record["unscored"])
    return Score(0.0, 0.0, 0.0, 0.0, 0.0, len(record.get("entropies") or record["pieces"]))
