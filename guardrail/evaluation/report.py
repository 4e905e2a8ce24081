"""A finished run, a calibrator and policies -> every number of a report."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from guardrail.calibration.controls import Controls
from guardrail.calibration.isotonic import IsotonicCalibrator
from guardrail.calibration.label_errors import LabelErrors
from guardrail.calibration.metrics import (
    Bools,
    Estimate,
    Floats,
    ReliabilityBin,
    accuracy,
    aurc,
    auroc,
    bootstrap_interval,
    brier,
    ece,
    reliability_table,
    risk_coverage_curve,
    wilson_interval,
)
from guardrail.calibration.provenance import Unit
from guardrail.calibration.risk import exact_interval
from guardrail.calibration.skill import brier_skill
from guardrail.errors import CalibrationError
from guardrail.evaluation.assess import PolicyOutcome, outcome, predictions
from guardrail.evaluation.controls import TextReader, grader_errors
from guardrail.policy import Policy
from guardrail.policy.proof import Promise, Proof
from guardrail.runs.answers import Answers
from guardrail.runs.readings import log_prob_of
from guardrail.runs.scores import for_calibrator, scores_of
from guardrail.types import Confidence

Verdict = Literal["kept", "exceeded within chance", "broken", "nothing to judge"]
"""What a run says about a promise of at most r wrong: kept, the share that was wrong is at most r; exceeded within chance, it
is above r but r lies within its exact interval; broken, r lies below it."""


@dataclass(frozen=True, slots=True)
class PromiseCheck:
    """A promise against the run. error: wrong among `what`, exact 95 % interval; None where there were none.

    own_data: the run has the very questions on which the promise was found, so that keeping it here shows nothing.
    """

    what: Literal["answered", "shown"]
    promise: Promise
    error: Estimate | None
    verdict: Verdict
    own_data: bool


@dataclass(frozen=True, slots=True)
class PolicyCheck:
    """What a policy would have done. error, error_shown: among answered, among answered or hedged; exact 95 % intervals."""

    policy: Policy
    outcome: PolicyOutcome
    error: Estimate | None
    error_shown: Estimate | None
    promises: tuple[PromiseCheck, ...]

    @property
    def proof(self) -> Proof | None:
        """What the policy's file promises."""
        return self.policy.proof

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "policy": self.outcome.policy,
            "actions": dict(self.outcome.actions),
            "coverage": asdict(self.outcome.coverage),
            "error": asdict(self.error) if self.error else None,
            "error_shown": asdict(self.error_shown) if self.error_shown else None,
            "promises": [
                {"what": p.what, "max_error": p.promise.max_error, "verdict": p.verdict, "own_data": p.own_data}
                for p in self.promises
            ],
        }


@dataclass(frozen=True, slots=True, eq=False)
class RiskCurve:
    """Error among the answers with the highest confidence, at every coverage that a threshold on it allows, (m,) each.

    coverage: share of all questions. low, high: exact 95 % interval of each point by itself, not of the whole curve.
    aurc_random, aurc_oracle: the area where the order is random, and where every right answer comes first.
    """

    threshold: Floats
    coverage: Floats
    risk: Floats
    low: Floats
    high: Floats
    right_share: float
    aurc_random: float
    aurc_oracle: float


@dataclass(frozen=True, slots=True, eq=False)
class Report:
    """Every number of a report.

    answers: all of them; confidences: one for each. score, p_correct, correct: of the n scored ones. metrics: with 95 %
    intervals (accuracy: Wilson; others: bootstrap); `undefined` says why one is not among them. own:
    exp(mean log-probability of the tokens), the model's own probability, of the scored ones; None where the run does not
    hold it. controls: what readers of the texts alone tell; None where they were not measured. label_errors: what the figures
    would be if the grader errs here as elsewhere; None where that is not known.
    """

    answers: Answers
    calibrator: IsotonicCalibrator
    confidences: tuple[Confidence, ...]
    score: Floats
    p_correct: Floats
    correct: Bools
    metrics: dict[str, Estimate]
    undefined: dict[str, str]
    reliability: tuple[ReliabilityBin, ...]
    own: Floats | None
    own_ece: Estimate | None
    own_reliability: tuple[ReliabilityBin, ...]
    curve: RiskCurve
    policies: tuple[PolicyCheck, ...]
    error_unguarded: Estimate
    out_of_range: int
    draws: int
    seed: int
    controls: Controls | None = None
    label_errors: LabelErrors | None = None

    @property
    def unit(self) -> Unit:
        """What one probability is about."""
        return "answer"

    @property
    def unscored(self) -> int:
        return len(self.answers.records) - len(self.correct)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready: every figure; not the answers, nor the curve's points."""
        return {
            "n": len(self.correct),
            "unscored": self.unscored,
            "out_of_range": self.out_of_range,
            **{name: asdict(e) for name, e in self.metrics.items()},
            "undefined": self.undefined,
            "own_ece": asdict(self.own_ece) if self.own_ece else None,
            "aurc_random": self.curve.aurc_random,
            "aurc_oracle": self.curve.aurc_oracle,
            "error_unguarded": asdict(self.error_unguarded),
            "policies": [check.to_dict() for check in self.policies],
            **({"controls": self.controls.to_dict()} if self.controls else {}),
            **({"label_errors": self.label_errors.to_dict()} if self.label_errors else {}),
        }


def measure_run(
    calibrator: IsotonicCalibrator,
    answers: Answers,
    policies: Sequence[Policy],
    *,
    data: str,
    reader: TextReader | None = None,
    draws: int = 1000,
    seed: int = 0,
) -> Report:
    """Measure everything that a report shows. data: the hash of the run's questions, to know those of a promise again.
    reader: measures the controls, too. draws, seed: of the bootstrap.

    A run whose scored answers are all right, or all wrong, has no AUROC, and says so. Raises `CalibrationError` when
    no answer is scored.
    """
    answers = for_calibrator(calibrator, answers)
    correct = answers.correct[answers.scored]
    if len(correct) == 0:
        raise CalibrationError(
            f"none of the {len(answers.records)} answers in this run has a score, so there is nothing to report"
        )
    confidences = predictions(calibrator, answers)
    known = [confidences[i] for i in answers.scored]
    p: Floats = np.array([c.p_correct for c in known], dtype=np.float64)
    metrics, undefined = _metrics(p, correct, draws, seed)
    own = _own_probability(answers)
    return Report(
        answers=answers,
        calibrator=calibrator,
        confidences=tuple(confidences),
        score=scores_of(calibrator, answers),
        p_correct=p,
        correct=correct,
        metrics=metrics,
        undefined=undefined,
        reliability=reliability_table(p, correct),
        own=own,
        own_ece=None if own is None else bootstrap_interval(ece, own, correct, n=draws, seed=seed),
        own_reliability=() if own is None else reliability_table(own, correct),
        curve=risk_curve(p, correct, len(answers.records)),
        policies=tuple(check_policy(policy, confidences, answers, data) for policy in policies),
        error_unguarded=wilson_interval(int((~answers.correct).sum()), len(answers.correct)),
        out_of_range=sum(not c.in_range for c in known),
        draws=draws,
        seed=seed,
        controls=reader.of_answers(answers, 1 - p, seed=seed) if reader else None,
        label_errors=grader_errors(answers.grading, p, correct),
    )


report = measure_run
"""The old name, for one release."""


def risk_curve(p_correct: Floats, correct: Bools, questions: int) -> RiskCurve:
    """Risk and coverage of n scored answers to `questions` questions; the unscored are answered at no threshold."""
    found = risk_coverage_curve(1 - p_correct, correct)
    n = len(correct)
    answered = np.rint(found.coverage * n).astype(int)
    wrong = np.rint(found.risk * answered).astype(int)
    bounds = [exact_interval(k, m) for k, m in zip(wrong.tolist(), answered.tolist(), strict=True)]
    right, k = int(correct.sum()), np.arange(1, n + 1)
    return RiskCurve(
        threshold=1 - found.threshold,
        coverage=answered / questions,
        risk=found.risk,
        low=np.array([b.low for b in bounds]),
        high=np.array([b.high for b in bounds]),
        right_share=right / questions,
        aurc_random=1 - right / n,
        aurc_oracle=float((np.maximum(0, k - right) / k).mean()),
    )


def check_policy(policy: Policy, confidences: Sequence[Confidence], answers: Answers, data: str) -> PolicyCheck:
    """What the policy would have done, and whether what its file promises held. data: the hash of the run's questions."""
    done = outcome(policy, confidences, answers)
    error, error_shown = _exact(done.error), _exact(done.error_shown)
    proof = policy.proof
    promises = []
    if proof is not None:
        own = proof.data == data
        promises.append(check_promise("answered", proof.answered, error, own))
        if proof.shown is not None:
            promises.append(check_promise("shown", proof.shown, error_shown, own))
    return PolicyCheck(policy, done, error, error_shown, tuple(promises))


def check_promise(
    what: Literal["answered", "shown"], promise: Promise, error: Estimate | None, own_data: bool = False
) -> PromiseCheck:
    """A promise against what was seen; error: with its exact interval."""
    return PromiseCheck(what, promise, error, promise_verdict(promise.max_error, error), own_data)


def promise_verdict(most: float, error: Estimate | None) -> Verdict:
    """What becomes of a promise of at most so many. error: what was seen, with its exact interval."""
    if error is None:
        return "nothing to judge"
    if error.value > most:
        return "broken" if error.low > most else "exceeded within chance"
    return "kept"


def _metrics(p: Floats, correct: Bools, draws: int, seed: int) -> tuple[dict[str, Estimate], dict[str, str]]:
    """As those of `assess`, but each by itself: without wrong answers there is still an ECE."""
    found = {"accuracy": wilson_interval(round(accuracy(correct) * len(correct)), len(correct))}
    undefined: dict[str, str] = {}
    measures: dict[str, tuple[Callable[..., float], Floats]] = {
        "auroc": (auroc, 1 - p),
        "aurc": (aurc, 1 - p),
        "brier": (brier, p),
        "ece": (ece, p),
        "brier_skill": (brier_skill, p),
    }
    for name, (metric, values) in measures.items():
        try:
            found[name] = bootstrap_interval(metric, values, correct, n=draws, seed=seed)
        except CalibrationError as error:
            undefined[name] = str(error)
    return found, undefined


def _own_probability(answers: Answers) -> Floats | None:
    records = [answers.records[i] for i in answers.scored]
    if not all(record.get("log_probs") for record in records):
        return None
    own: Floats = np.clip(np.exp(log_prob_of(records)), 0.0, 1.0)
    return own


def _exact(share: Estimate | None) -> Estimate | None:
    """The same share with its exact interval."""
    return None if share is None else exact_interval(round(share.value * share.n), share.n)
