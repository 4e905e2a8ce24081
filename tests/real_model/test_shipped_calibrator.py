"""The calibrator that comes with guardrail: it fits the embedded model, and its figures can be made again."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever

from guardrail import CalibrationError, Guard, HybridGradScorer, IsotonicCalibrator
from guardrail.calibration.shipped import load_calibrator, shipped_calibrator
from guardrail.data import load_claim_questions, load_questions
from guardrail.datasets.questions import question_digest
from guardrail.scoring.profile import Profile

SHIPPED = Path(__file__).parents[2] / "guardrail" / "data" / "calibrators" / "smollm2-135m.json"
OTHERS = [("smollm2-135m-hybridgrad", "--scorer hybridgrad"), ("smollm2-135m-claims", "--unit claim")]
PASSAGES = "--retriever guardrail/data/passages.jsonl"
pytestmark = pytest.mark.real_model


def weights(origin):
    return {feature["name"]: feature["weight"] for feature in origin["profile"]["features"]}


class Nothing(BaseRetriever):
    def _get_relevant_documents(self, query, *, run_manager):
        return []


def test_it_belongs_to_the_embedded_model(embedded_model):
    name, calibrator = shipped_calibrator(embedded_model.identity)
    assert name == "shipped:smollm2-135m"
    assert calibrator.provenance.command == (
        f"guardrail calibrate bundled {PASSAGES} -o guardrail/data/calibrators/smollm2-135m.json"
    )
    guard = Guard(model=embedded_model)
    assert (guard.calibrator_name, guard.scorer.name) == (name, "stacked")
    assert guard.scorer.options == calibrator.provenance.profile
    assert guard.calibrated.contexts["evidence"].options == calibrator.contexts["evidence"].profile


def test_no_held_out_question_was_used():
    used = set(IsotonicCalibrator.load(SHIPPED).provenance.questions)
    assert {question_digest(q.question) for q in load_questions("calibration")} <= used
    assert not used & {question_digest(q.question) for q in load_questions("heldout")}


@pytest.mark.parametrize(("name", "options"), OTHERS)
def test_the_others_belong_to_it_too(embedded_model, name, options):
    calibrator = load_calibrator(f"shipped:{name}")
    origin = calibrator.provenance
    assert origin.command == f"guardrail calibrate bundled {options} -o guardrail/data/calibrators/{name}.json"
    assert origin.scorer == ("stacked" if calibrator.unit == "claim" else "hybridgrad")
    assert origin.model.weights == embedded_model.identity.weights
    heldout = load_questions("heldout") if calibrator.unit == "answer" else load_claim_questions("heldout")
    assert not set(origin.questions) & {question_digest(q.question) for q in heldout}


def test_hybridgrads_is_for_those_who_ask_for_it(embedded_model):
    asked = Guard(model=embedded_model, calibrator=load_calibrator("shipped:smollm2-135m-hybridgrad"))
    usual = Guard(model=embedded_model)
    questions = ["What is the capital of Japan?", "Who wrote the novel The Radetzky March?"]
    tokyo, guess = usual.answer_batch(questions)
    assert tokyo.confidence.p_correct > asked.answer(questions[0]).confidence.p_correct
    assert tokyo.confidence.p_correct > 0.5 > guess.confidence.p_correct
    assert asked.scorer.name == "hybridgrad"
    assert asked.scorer.profile.token == asked.calibrator.provenance.profile["token"]


def test_a_wrong_passage_does_not_make_it_sure(embedded_model):
    """The model repeats what it has read, and is sure of it; what was asked and what was read say that it is of no use."""

    class Of(BaseRetriever):
        text: str

        def _get_relevant_documents(self, query, *, run_manager):
            return [Document(self.text)]

    question, right = "What is the capital of Burkina Faso?", "Burkina Faso is in Africa. Its capital is Ouagadougou."
    said = {}
    for text in (right, "Peru is a country in South America. The capital of Peru is Lima."):
        guard = Guard(model=embedded_model, policy="retrieve_first", retriever=Of(text=text))
        said[text] = guard.answer(question)
    confidences = {text: verdict.confidence for text, verdict in said.items()}
    assert {c.basis for c in confidences.values()} == {"calibrated"}
    assert "Ouagadougou" in said[right].answer
    assert confidences[right].p_correct > 0.5 > 0.4 > min(c.p_correct for c in confidences.values())


def test_claims_are_judged_by_the_stacked_one(embedded_model):
    stage = Guard(model=embedded_model, policy="per_claim").claim_pipeline
    assert (stage.calibrated.name, stage.calibrated.scorer.name) == ("shipped:smollm2-135m-claims", "stacked")


@pytest.mark.parametrize("calibrator", [None, "shipped:smollm2-135m-hybridgrad"])
def test_claims_are_verified_with_the_profile_that_was_measured(embedded_model, calibrator):
    """Whatever scores the answers and the claims: docs/results/verification.md."""
    asked = Guard(model=embedded_model, policy="per_claim", retriever=Nothing(), calibrator=calibrator)
    profile = shipped_calibrator(embedded_model.identity, scorer="hybridgrad")[1].provenance.profile
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
    subprocess.run([*command, "calibrate", "bundled", *PASSAGES.split(), "-o", made], check=True)
    again, shipped = json.loads(made.read_text()), json.loads(SHIPPED.read_text())
    assert again["n"] == shipped["n"]
    assert again["n_correct"] == pytest.approx(shipped["n_correct"], abs=5)  # another CPU rounds otherwise
    assert weights(again["provenance"]) == pytest.approx(weights(shipped["provenance"]), abs=0.1)
    of_passages = [content["contexts"]["evidence"] for content in (again, shipped)]
    assert of_passages[0]["n_correct"] == pytest.approx(of_passages[1]["n_correct"], abs=5)
    out = subprocess.run([*command, "evaluate", "bundled", "-c", made, "--json"], check=True, capture_output=True)
    result = json.loads(out.stdout)
    assert result["ece"]["value"] <= 0.08
    strict = next(p for p in result["policies"] if p["policy"] == "strict")
    assert strict["error"]["value"] < result["error_unguarded"]["value"]


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(("name", "options"), OTHERS)
def test_refit_gives_the_same(name, options, tmp_path):
    made = tmp_path / "made.json"
    subprocess.run(
        [sys.executable, "-m", "guardrail.cli", "calibrate", "bundled", *options.split(), "-o", made], check=True
    )
    again, shipped = json.loads(made.read_text()), load_calibrator(f"shipped:{name}").to_dict()
    assert again["n"] == pytest.approx(shipped["n"], abs=5)  # another CPU rounds otherwise
    assert again["n_correct"] == pytest.approx(shipped["n_correct"], abs=5)
    if again["provenance"]["scorer"] == "stacked":
        assert weights(again["provenance"]) == pytest.approx(weights(shipped["provenance"]), abs=0.1)
    else:
        profile = {k: v for k, v in again["provenance"]["profile"].items() if not k.endswith("quantiles")}
        assert profile.items() <= shipped["provenance"]["profile"].items()
