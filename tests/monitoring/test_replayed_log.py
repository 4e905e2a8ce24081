"""`guardrail replay`: the real model's verdicts come out as they were; what was changed in the log is found."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from guardrail import Guard, VerdictLog
from guardrail.cli.main import app
from guardrail.errors import DataError
from guardrail.monitoring.replay import replay


@pytest.fixture(scope="module")
def logged(tmp_path_factory):
    folder = tmp_path_factory.mktemp("logs")
    logs = [VerdictLog(folder / "text.jsonl", text=True), VerdictLog(folder / "bare.jsonl")]
    guard = Guard.from_pretrained("smollm2-135m", observers=logs)
    guard.answer_batch(["What is the capital of Japan?", "Who wrote the book Zorbulon?"])
    guard.answer([{"role": "user", "content": "Name a colour."}], max_new_tokens=4)  # cut off, and of its own prompt
    return guard, folder / "text.jsonl", folder / "bare.jsonl"


def changed(path, to, **values):
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    lines[0]["attempts"][0] |= values
    to.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return to


def test_what_was_logged_with_text_is_scored_and_decided_as_it_was(logged):
    guard, text, _ = logged
    found = replay(text, load_model=lambda: guard.model)
    assert found.differences == ()
    assert (found.verdicts, found.scored, found.decided) == (3, 3, 3)


def test_another_answer_has_another_score(logged, tmp_path):
    guard, text, _ = logged
    found = replay(changed(text, tmp_path / "l.jsonl", answer="Bogota"), load_model=lambda: guard.model)
    assert "score" in {each.field for each in found.differences}
    assert {each.id for each in found.differences} == {json.loads(text.read_text().splitlines()[0])["id"]}


def test_without_text_the_decision_follows_from_the_logged_confidence(logged, tmp_path):
    _, _, bare = logged
    found = replay(bare)
    assert (found.differences, found.scored, found.decided) == ((), 0, 3)
    assert found.not_scored == {"the line holds no text": 3}
    result = CliRunner().invoke(app, ["replay", str(bare), "--policy", "observe"])
    assert "not scored again: the line holds no text" in result.output
    unsure = changed(bare, tmp_path / "l.jsonl", confidence=0.01, label="very low")
    result = CliRunner().invoke(app, ["replay", str(unsure), "--json"])
    told = json.loads(result.output)
    assert result.exit_code == 1
    assert {(d["field"], d["replayed"]) for d in told["differences"]} >= {("action", "abstain")}


def test_with_a_calibrator_the_confidence_follows_from_the_logged_score(logged, tmp_path):
    _, _, bare = logged
    assert replay(bare, calibrator="shipped:smollm2-135m").differences == ()
    forged = changed(bare, tmp_path / "l.jsonl", confidence=0.999)
    assert "confidence" in {d.field for d in replay(forged, calibrator="shipped:smollm2-135m").differences}


def test_torn_lines_are_counted_and_what_is_no_verdict_is_refused(logged, tmp_path):
    _, _, bare = logged
    torn = tmp_path / "torn.jsonl"
    torn.write_text(bare.read_text() + '{"id": "x", "acti')
    assert replay(torn).torn == 1
    torn.write_text('{"id": "x"}\n')
    with pytest.raises(DataError, match="no verdict"):
        replay(torn)
