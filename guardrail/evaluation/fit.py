"""Graded answers or claims -> a calibrator with its profile and the evidence for both. Knows nothing about files or screens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import JsonValue

from guardrail.calibration.folds import stratified_folds
from guardrail.calibration.isotonic import IsotonicCalibrator
from guardrail.calibration.metrics import (
    Bools,
    Estimate,
    ReliabilityBin,
    auroc,
    bootstrap_difference,
    bootstrap_interval,
    calibration_metrics,
    ece,
    reliability_table,
)
from guardrail.calibration.pooling import fitted_probabilities
from guardrail.calibration.profiles import FOLDS, Selection, fit, scores, select
from guardrail.calibration.provenance import ExtractorIdentity, Provenance, Unit
from guardrail.calibration.stacking import Stacking
from guardrail.datasets.questions import leak_digests
from guardrail.errors import CalibrationError
from guardrail.model.local import LocalModel
from guardrail.runs.asking import Asking
from guardrail.runs.readings import Sample
from guardrail.scoring.hybridgrad import HybridGradScorer
from guardrail.scoring.profile import Profile

if TYPE_CHECKING:
    from guardrail.runs.answers import Answers
    from guardrail.scoring.protocol import Scorer

_VERSIONS = ("hybridgrad-guardrail", "torch", "transformers")


@dataclass(frozen=True, slots=True)
class Baseline:
    """Every claim with its whole answer's score, whose profile was chosen in the same way: is one score a claim worth it?

    auroc: of its out-of-fold probabilities. difference: the claims' own AUROC minus it, paired, by answers.
    """

    auroc: Estimate
    difference: Estimate


@dataclass(frozen=True, slots=True, eq=False)
class Fit:
    """A fitted calibrator and what cross-validation says about it; no figure is measured on fitted points.

    metrics: accuracy of all scored answers (or claims); auroc, aurc, brier and ece of out-of-fold probabilities, the choice of
    the profile repeated in each fold. ece_before: of exp(-nll / length), the model's own mean token probability. n: answers or
    claims used; answers: the answers that these claims come from; left_out: those that are not used, by reason. selection: None
    for a scorer that has no profile. stacking: what was found about the stacked scorer, where that was asked for.
    """

    calibrator: IsotonicCalibrator
    selection: Selection | None
    metrics: dict[str, Estimate]
    ece_before: Estimate
    reliability: tuple[ReliabilityBin, ...]
    unit: Unit
    n: int
    answers: int
    left_out: Mapping[str, int] = field(default_factory=dict)
    baseline: Baseline | None = None
    stacking: Stacking | None = None


def fit_calibrator(
    local: LocalModel,
    sample: Sample,
    asking: Asking,
    *,
    questions: Sequence[str],
    data: str,
    grader: str,
    command: str,
    left_out: Mapping[str, int],
    extractor: ExtractorIdentity | None = None,
    whole: Sample | None = None,
    source: Mapping[str, JsonValue] | None = None,
    grading: Mapping[str, JsonValue] | None = None,
    prior: Profile | None = None,
    choosing: bool = True,
    seed: int = 0,
) -> Fit:
    """Choose the profile, fit the calibrator, measure both.

    questions, data: what was asked, every wording of it (`datasets.texts_of`), and its hash. source, grading: where the
    questions come from and how answers were graded, for the provenance. extractor, whole: for claims, what cut them and the
    same claims with the numbers of their whole answers. prior: the profile that a choice has to beat; None is the paper's
    formula at the chat template's token. choosing: False keeps the prior.

    Raises `CalibrationError` when there are too few answers or claims, or too few right or wrong ones.
    """
    correct, signals, groups = sample.correct, sample.signals, sample.groups
    prior = prior or prior_profile(local)
    if len(correct) == 0:
        raise CalibrationError(
            f"none of the {sample.unit}s could be scored and graded ({_listed(left_out)}); the run file holds the answers"
        )
    if prior.token not in signals.offsets:
        raise CalibrationError(
            f"the semantic token is at {prior.token}, before the start of the shortest prompt ({signals.offsets[0]})"
        )
    before = scores(fit(prior, signals), signals)
    IsotonicCalibrator().fit(before, correct, unit=sample.unit, groups=groups)  # refuses bad data before the long part
    selection = select(prior, signals, correct, choosing=choosing, seed=seed, groups=groups)
    p = selection.p_correct
    metrics = calibration_metrics(1 - p, p, correct, seed=seed, groups=groups)
    calibrator = IsotonicCalibrator().fit(
        scores(selection.profile, signals),
        correct,
        unit=sample.unit,
        metrics=metrics,
        unscored=left_out.get("unscored"),
        provenance=provenance_of(
            local,
            HybridGradScorer.name,
            selection.profile.model_dump(mode="json"),
            asking,
            correct,
            questions=questions,
            data=data,
            grader=grader,
            command=command,
            extractor=extractor,
            source=source,
            grading=grading,
        ),
    )
    baseline = None
    if whole is not None:
        other = select(prior, whole.signals, correct, choosing=choosing, seed=seed, groups=groups).p_correct
        baseline = Baseline(
            auroc=bootstrap_interval(auroc, 1 - other, correct, seed=seed, groups=groups),
            difference=bootstrap_difference(auroc, (1 - p, correct), (1 - other, correct), seed=seed, groups=groups),
        )
    return Fit(
        calibrator=calibrator,
        selection=selection,
        metrics=metrics,
        ece_before=bootstrap_interval(ece, sample.own_probability, correct, seed=seed, groups=groups),
        reliability=reliability_table(p, correct),
        unit=sample.unit,
        n=len(correct),
        answers=len(correct) if groups is None else len(set(groups.tolist())),
        left_out=left_out,
        baseline=baseline,
    )


def fit_scorer(
    local: LocalModel,
    scorer: Scorer,
    answers: Answers,
    asking: Asking,
    *,
    questions: Sequence[str],
    data: str,
    grader: str,
    command: str,
    source: Mapping[str, JsonValue] | None = None,
    grading: Mapping[str, JsonValue] | None = None,
    ungraded: int = 0,
    seed: int = 0,
) -> Fit:
    """As `fit_calibrator`, on the scores that the answers' records hold of any scorer: there is no profile to choose.

    ungraded: answers that the grader left out. Raises `CalibrationError` as it does, and for answers that were collected
    without the scorer.
    """
    answers = answers.scored_by(scorer.name)
    left_out = {"unscored": len(answers.records) - len(answers.scored), "ungraded": ungraded}
    sample = answers.sample
    correct = sample.correct
    if len(correct) == 0:
        raise CalibrationError(
            f"none of the answers could be scored by {scorer.name!r} ({_listed(left_out)}); the run file holds the answers"
        )
    values = np.array([answers.records[i]["scores"][scorer.name] for i in answers.scored], dtype=np.float64)
    IsotonicCalibrator().fit(values, correct)  # refuses bad data
    p = np.empty(len(values))
    for test in stratified_folds(correct, FOLDS, seed):
        train = np.setdiff1d(np.arange(len(values)), test)
        p[test] = fitted_probabilities(values[train], correct[train], values[test])
    metrics = calibration_metrics(1 - p, p, correct, seed=seed)
    provenance = provenance_of(
        local,
        scorer.name,
        scorer.options,
        asking,
        correct,
        questions=questions,
        data=data,
        grader=grader,
        command=command,
        source=source,
        grading=grading,
    )
    return Fit(
        calibrator=IsotonicCalibrator().fit(
            values, correct, metrics=metrics, provenance=provenance, unscored=left_out["unscored"]
        ),
        selection=None,
        metrics=metrics,
        ece_before=bootstrap_interval(ece, sample.own_probability, correct, seed=seed),
        reliability=reliability_table(p, correct),
        unit="answer",
        n=len(correct),
        answers=len(correct),
        left_out=left_out,
    )


def provenance_of(
    local: LocalModel,
    scorer: str,
    options: Mapping[str, Any],
    asking: Asking,
    correct: Bools,
    *,
    questions: Sequence[str],
    data: str,
    grader: str,
    command: str,
    extractor: ExtractorIdentity | None = None,
    source: Mapping[str, JsonValue] | None = None,
    grading: Mapping[str, JsonValue] | None = None,
) -> Provenance:
    """What a calibrator says of itself that is fitted today on `correct`, the grades of what was asked."""
    return Provenance(
        model=local.identity,
        scorer=scorer,
        profile=dict(options),
        prompt=asking.prompt,
        system=asking.system,
        data=data,
        questions=leak_digests(questions),
        n=len(correct),
        accuracy=float(correct.mean()),
        created=datetime.now(UTC).date().isoformat(),
        command=command,
        versions=versions(),
        grader=grader,
        generation={"max_new_tokens": asking.max_new_tokens, "temperature": 0.0},
        extractor=extractor,
        source=dict(source or {}),
        grading=dict(grading or {}),
    )


def prior_profile(local: LocalModel) -> Profile:
    """The paper's formula at the chat template's token."""
    token = local.semantic_token
    return Profile(token=token.offset, token_source=token.source)


def versions() -> dict[str, str]:
    """Of the packages that a score depends on."""
    return {name: version(name) for name in _VERSIONS}


def _listed(left_out: Mapping[str, int]) -> str:
    return ", ".join(f"{n} {reason.replace('_', ' ')}" for reason, n in left_out.items()) or "there was none"
