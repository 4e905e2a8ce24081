"""Graded answers -> a calibrator with its profile and the evidence for both. Knows nothing about files or screens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version

import numpy as np

from guardrail.calibration.isotonic import IsotonicCalibrator
from guardrail.calibration.metrics import (
    Estimate,
    Floats,
    ReliabilityBin,
    bootstrap_interval,
    calibration_metrics,
    ece,
    reliability_table,
)
from guardrail.calibration.profiles import Selection, fit, scores, select
from guardrail.calibration.provenance import Provenance
from guardrail.errors import CalibrationError
from guardrail.evaluation.collect import Answers, Asking
from guardrail.evaluation.datasets import QuestionRow, data_hash, question_digest
from guardrail.model.local import LocalModel
from guardrail.scoring.hybridgrad import HybridGradScorer
from guardrail.scoring.profile import Profile

_VERSIONS = ("hybridgrad-guardrail", "torch", "transformers")


@dataclass(frozen=True, slots=True, eq=False)
class Fit:
    """A fitted calibrator and what cross-validation says about it; no figure is measured on fitted points.

    metrics: accuracy of all scored answers; auroc, aurc, brier and ece of out-of-fold probabilities, the choice of the
    profile repeated in each fold. ece_before: of exp(-nll / length), the model's own mean token probability.
    """

    calibrator: IsotonicCalibrator
    selection: Selection
    metrics: dict[str, Estimate]
    ece_before: Estimate
    reliability: tuple[ReliabilityBin, ...]
    n: int
    unscored: int


def fit_calibrator(
    local: LocalModel,
    questions: Sequence[QuestionRow],
    answers: Answers,
    asking: Asking,
    *,
    grader: str,
    command: str,
    keep_profile: Profile | None = None,
    seed: int = 0,
) -> Fit:
    """Choose the profile, fit the calibrator, measure both. keep_profile: use this one instead of choosing.

    Raises `CalibrationError` when there are too few answers, or too few right or wrong ones.
    """
    correct = answers.correct[answers.scored]
    signals = answers.signals
    prior = keep_profile or prior_profile(local)
    if len(correct) == 0:
        raise CalibrationError("none of the answers could be scored; see `unscored` in the run file for the reasons")
    if prior.token not in signals.offsets:
        raise CalibrationError(
            f"the semantic token is at {prior.token}, before the start of the shortest prompt ({signals.offsets[0]})"
        )
    IsotonicCalibrator().fit(scores(fit(prior, signals), signals), correct)  # refuses bad data before the long part
    selection = select(prior, signals, correct, choosing=keep_profile is None, seed=seed)
    p = selection.p_correct
    metrics = calibration_metrics(1 - p, p, correct, seed=seed)
    calibrator = IsotonicCalibrator().fit(
        scores(selection.profile, signals),
        correct,
        metrics=metrics,
        provenance=Provenance(
            model=local.identity,
            scorer=HybridGradScorer.name,
            profile=selection.profile.model_dump(mode="json"),
            prompt=asking.prompt,
            system=asking.system,
            data=data_hash(questions),
            questions=tuple(question_digest(q.question) for q in questions),
            n=len(correct),
            accuracy=float(correct.mean()),
            created=datetime.now(UTC).date().isoformat(),
            command=command,
            versions={name: version(name) for name in _VERSIONS},
            grader=grader,
            generation={"max_new_tokens": asking.max_new_tokens, "temperature": 0.0},
        ),
    )
    return Fit(
        calibrator=calibrator,
        selection=selection,
        metrics=metrics,
        ece_before=bootstrap_interval(ece, own_probability(answers), correct, seed=seed),
        reliability=reliability_table(p, correct),
        n=len(correct),
        unscored=len(answers.records) - len(correct),
    )


def prior_profile(local: LocalModel) -> Profile:
    """The paper's formula at the chat template's token."""
    token = local.semantic_token
    return Profile(token=token.offset, token_source=token.source)


def own_probability(answers: Answers) -> Floats:
    """exp(-nll / length) of the scored answers, (n,): how probable the model itself found its words, uncalibrated."""
    mean = [float(np.mean(answers.records[i]["log_probs"])) for i in answers.scored]
    out: Floats = np.clip(np.exp(np.array(mean)), 0.0, 1.0)
    return out
