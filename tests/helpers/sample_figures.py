"""What calibrate, recalibrate, evaluate, tune and bench find, made from numbers without a model. Not a test."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from guardrail.calibration.metrics import BoundRisk, Estimate
from guardrail.calibration.profiles import Selection
from guardrail.calibration.stacking import Stacking
from guardrail.evaluation.assess import assess
from guardrail.evaluation.assess_claims import ClaimAssessment, ClaimOutcome
from guardrail.evaluation.bench import compare_scorers
from guardrail.evaluation.fit import Fit, WholeAnswer
from guardrail.evaluation.recalibrate import Recalibration
from guardrail.evaluation.tuning import find_thresholds
from guardrail.evaluation.with_evidence import Passaged, WithEvidence
from guardrail.policy import Policy
from guardrail.runs.scorer_pass import GENERATION
from guardrail.scoring.profile import Profile
from guardrail.scoring.stacked.model import StackedFeature, StackedModel
from guardrail.types import CLAIM_ACTIONS
from tests.helpers import sample_runs

SOME = Estimate(0.5, 0.4, 0.6, 9)
METRICS = dict.fromkeys(("accuracy", "auroc", "aurc", "brier", "ece", "brier_skill"), SOME)
RISKS = (BoundRisk(0.5, SOME, SOME),)
WITH_EVIDENCE = WithEvidence(9, *[Passaged(SOME, 0.5, SOME)] * 3, METRICS, SOME, SOME, SOME)


def all_of_them(folder: Path, name: str) -> Iterator[tuple[str, Any]]:
    """The command of each and what it found; name: of kinds of question, scorers and reasons, where these are keys."""
    fitted = sample_runs.calibrator()
    _, run = sample_runs.measured(folder / "figures.jsonl", sample_runs.records(200))
    found = assess(fitted, run.answers, [Policy.load("default")])
    claims = tuple(
        ClaimOutcome("p", dict.fromkeys(CLAIM_ACTIONS, 1), dict.fromkeys(CLAIM_ACTIONS, SOME)) for _ in range(2)
    )
    weighs = StackedModel(
        intercept=0, common_words=(), features=(StackedFeature(name="nll_mean", weight=1, quantiles=(0.0, 1.0)),)
    )
    stacking = Stacking(weighs, False, "nll", SOME, 0.5, {name: 0.5}, np.zeros(1))
    selection = Selection(Profile(token=-1), True, SOME, 0.6, 0.5, np.zeros(1))
    yield "evaluate", found
    yield (
        "evaluate",
        ClaimAssessment(
            9, 9, {name: 1}, 1, SOME, SOME, METRICS, SOME, SOME, SOME, found.top_labels, found.reliability, claims
        ),
    )
    yield "calibrate", Fit(
        fitted, selection, METRICS, SOME, found.reliability, RISKS, "answer", 9, 9, np.zeros(1), {name: 1}, None, stacking,
        {name: 3}, found.policies, WITH_EVIDENCE,
    )  # fmt: skip
    yield "calibrate", Fit(
        fitted, None, METRICS, SOME, found.reliability, RISKS, "claim", 9, 9, np.zeros(1), {name: 1}, WholeAnswer(SOME, SOME),
        None, {name: 3}, claims,
    )  # fmt: skip
    yield "recalibrate", Recalibration(
        fitted, "claim", 9, 9, METRICS, METRICS, SOME, found.reliability, 9, 1, {name: 1}, ("a note",), "log", "old",
    )  # fmt: skip
    for target in (0.05, 0.9):
        yield "tune", find_thresholds(fitted, run.answers, max_error=target, confidence=0.9)
    scorers = {each: SimpleNamespace(options={}) for each in ("hybridgrad", f"{name} sar")}
    scored = [
        record
        | {
            "scores": {each: (record["paragrad"] + i) % (1.1 + i) for i, each in enumerate(scorers)},
            "seconds": dict.fromkeys([*scorers, GENERATION], 1.0),
        }
        for record in run.answers.records
    ]
    yield "bench", compare_scorers(replace(run.answers, records=tuple(scored)), scorers)
