"""The calibrator that comes with guardrail: it fits the embedded model, and its figures can be made again."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from langchain_core.retrievers import BaseRetriever

from guardrail import CalibrationError, Guard, HybridGradScorer, IsotonicCalibrator
from guardrail.calibration.shipped import load_calibrator, shipped_calibrator
from guardrail.data import load_claim_questions, load_questions
from guardrail.datasets.questions import question_digest
from guardrail.scoring.profile import Profile

SHIPPED = Path(__file__).parents[2] / "guardrail" / "data" / "calibrators" / "smollm2-135m.json"
OTHERS = [("smollm2-135m-stacked", "--scorer stacked"), ("smollm2-135m-claims", "--unit claim --scorer stacked")]
pytestmark = pytest.mark.real_model


class Nothing(BaseRetriever):
    def _get_relevant_documents(self, query, *, run_manager):
        return []


def test_it_belongs_to_the_embedded_model(embedded_model):
    name, calibrator = shipped_calibrator(embedded_model.identity)
    assert name == "shipped:smollm2-135m"
    assert calibrator.provenance.command == (
        "guardrail calibrate bundled -o guardrail/data/calibrators/smollm2-135m.json"
    )
    guard = Guard(model=embedded_model)
    assert guard.calibrator_name == name
    assert guard.scorer.profile.token == calibrator.provenance.profile["token"]


def test_no_held_out_question_was_used():
    used = set(IsotonicCalibrator.load(SHIPPED).provenance.questions)
    assert len(used) == len(load_questions("calibration"))
    assert not used & {question_digest(q.question) for q in load_questions("heldout")}


@pytest.mark.parametrize(("name", "options"), OTHERS)
def test_the_others_belong_to_it_too(embedded_model, name, options):
    calibrator = load_calibrator(f"shipped:{name}")
    origin = calibrator.provenance
    assert origin.command == f"guardrail calibrate bundled {options} -o guardrail/data/calibrators/{name}.json"
    assert (origin.scorer, origin.model.weights) == ("stacked", embedded_model.identity.weights)
    heldout = load_questions("heldout") if calibrator.unit == "answer" else load_claim_questions("heldout")
    assert not set(origin.questions) & {question_digest(q.question) for q in heldout}


def test_the_stacked_one_is_for_those_who_ask_for_it(embedded_model):
    asked = Guard(model=embedded_model, calibrator=load_calibrator("shipped:smollm2-135m-stacked"))
    tokyo, guess = asked.answer_batch(["What is the capital of Japan?", "Who wrote the novel The Radetzky March?"])
    assert (
        tokyo.confidence.p_correct
        > Guard(model=embedded_model).answer("What is the capital of Japan?").confidence.p_correct
    )
    assert tokyo.confidence.p_correct > 0.5 > guess.confidence.p_correct
    assert asked.scorer.name == "stacked"


def test_claims_are_judged_by_the_stacked_one(embedded_model):
    stage = Guard(model=embedded_model, policy="per_claim").claim_pipeline
    assert (stage.calibrated.name, stage.calibrated.scorer.name) == ("shipped:smollm2-135m-claims", "stacked")


@pytest.mark.parametrize("calibrator", [None, "shipped:smollm2-135m-stacked"])
def test_claims_are_verified_with_the_profile_that_was_measured(embedded_model, calibrator):
    """Whatever scores the answers and the claims: docs/results/verification.md."""
    asked = Guard(model=embedded_model, policy="per_claim", retriever=Nothing(), calibrator=calibrator)
    profile = shipped_calibrator(embedded_model.identity)[1].provenance.profile
    assert asked.claim_pipeline.verifier.scorer.profile == Profile.model_validate(profile)


def test_it_is_not_taken_for_another_profile(embedded_model):
    paper = HybridGradScorer(embedded_model)
    assert Guard(model=embedded_model, scorer=paper, policy="observe").calibrator is None
    with pytest.raises(CalibrationError, match="there is no calibrator"):
        Guard(model=embedded_model, scorer=paper)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_refit_gives_the_same_and_held_out_meets_the_bar(tmp_path):
    """Ten minutes each on 2 cores: the command that made the file, and its figures on the held-out questions."""
    made = tmp_path / "smollm2-135m.json"
    command = [sys.executable, "-m", "guardrail.cli"]
    subprocess.run([*command, "calibrate", "bundled", "-o", made], check=True)
    again, shipped = json.loads(made.read_text()), json.loads(SHIPPED.read_text())
    assert again["n"] == shipped["n"]
    assert again["n_correct"] == pytest.approx(shipped["n_correct"], abs=5)  # another CPU rounds otherwise
    profile = {k: v for k, v in again["provenance"]["profile"].items() if not k.endswith("quantiles")}
    assert profile == {k: v for k, v in shipped["provenance"]["profile"].items() if not k.endswith("quantiles")}
    out = subprocess.run([*command, "evaluate", "bundled", "-c", made, "--json"], check=True, capture_output=True)
    result = json.loads(out.stdout)
    assert result["ece"]["value"] <= 0.08
    strict = next(p for p in result["policies"] if p["policy"] == "strict")
    assert strict["error"]["value"] < result["error_unguarded"]["value"]


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(("name", "options"), OTHERS)
def test_refit_gives_the_same_weights(name, options, tmp_path):
    made = tmp_path / "made.json"
    subprocess.run(
        [sys.executable, "-m", "guardrail.cli", "calibrate", "bundled", *options.split(), "-o", made], check=True
    )
    again, shipped = json.loads(made.read_text()), load_calibrator(f"shipped:{name}").to_dict()
    assert again["n"] == pytest.approx(shipped["n"], abs=5)  # another CPU rounds otherwise
    assert again["n_correct"] == pytest.approx(shipped["n_correct"], abs=5)
    weights = [{f["name"]: f["weight"] for f in c["provenance"]["profile"]["features"]} for c in (again, shipped)]
    assert weights[0] == pytest.approx(weights[1], abs=0.1)
