"""`guardrail ask` on the embedded model, in a real process: the JSON object, retrieval from a file, the human's view."""

from __future__ import annotations

import json

import pytest

pytestmark = pytest.mark.real_model
QUESTION = "What is the capital of Burkina Faso?"


def test_json_with_a_retriever(cli, tmp_path):
    (tmp_path / "notes.txt").write_text("Burkina Faso is a country in Africa. Its capital is Ouagadougou.\n")
    out = cli("ask", QUESTION, "--retriever", "notes.txt", "--json")
    assert out.returncode == 0, out.stderr
    said = json.loads(out.stdout)
    assert (said["original"], said["actions"]) == ("Bokassa", ["retrieve", "answer"])
    assert "Ouagadougou" in said["answer"]
    assert said["answer"] in said["text"]
    assert said["evidence"][0]["source"] == "notes.txt"
    assert said["attempts"][0]["score"]["nll"] == pytest.approx(7.1317, rel=1e-3)
    assert (said["model"], said["calibrator"], said["policy"]) == ("smollm2-135m", "shipped:smollm2-135m", "default")
    assert (said["attempts"][0]["basis"], said["basis"]) == ("calibrated", "calibrated")
    assert said["timing_ms"]["generate"] > said["timing_ms"]["score"] > 0


def test_what_a_person_sees(cli):
    out = cli("ask", QUESTION, "--policy", "strict")
    assert out.returncode == 0, out.stderr
    lines = out.stdout.splitlines()
    assert lines[0].startswith("I do not know this well enough to answer.")
    assert any(line.strip().startswith("confidence  0.") and "low" in line for line in lines)
    assert any("abstain (policy strict, rule 'not sure enough')" in line for line in lines)
    assert any(line.strip() == "answer      Bokassa" for line in lines)


def test_a_system_message_changes_the_prompt_and_the_basis(cli):
    out = cli("ask", QUESTION, "--system", "Answer in French.", "--policy", "observe", "--json")
    assert out.returncode == 0, out.stderr
    said = json.loads(out.stdout)
    assert (said["action"], said["basis"]) == ("answer", "extrapolated")
