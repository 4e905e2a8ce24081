"""`calibrate` and `evaluate` by claim, on a tiny model on disk, in real processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest


def labelled(path, numbers):
    """Answers of two sentences each, one of them labelled right; the labels know nothing of the model."""
    rows = []
    for i in numbers:
        answer = f"The number {i} is {'even' if i % 3 else 'odd'}. It comes after {i - 1} and before {i + 2 - i % 2}."
        first, second = answer.split(". ")
        claims = [{"text": f"{first}.", "correct": i % 2 == 0}, {"text": second, "correct": i % 5 < 2}]
        rows.append({"question": f"What about number {i}?", "answer": answer, "claims": claims})
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def made(tiny_folder, tmp_path_factory):
    """A calibrator of claims of the tiny model, made by the command; the folder that it lies in; the report."""
    folder = tmp_path_factory.mktemp("claims")
    data = labelled(folder / "data.jsonl", range(30))
    command = [sys.executable, "-m", "guardrail.cli", "calibrate", data, "--unit", "claim", "-o", folder / "c.json", "-m",
               tiny_folder, "--batch-size", "4", "--prompt", "{question}", "--no-cache"]  # fmt: skip
    out = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "COLUMNS": "100", "NO_COLOR": "1"})
    assert out.returncode == 0, out.stderr
    return folder, command, out.stdout


def test_calibrate_by_claim(made):
    folder, _, report = made
    assert "claims scored   60 of 30 answers" in report
    assert "where each claim has its answer's score" in report
    calibrator = json.loads((folder / "c.json").read_text())
    assert (calibrator["unit"], calibrator["n"]) == ("claim", 60)
    assert calibrator["provenance"]["extractor"] == {"name": "sentences", "options": {"language": "en"}}
    assert calibrator["provenance"]["generation"]["max_new_tokens"] == 160
    header, *answers = map(json.loads, (folder / "c.json.run.jsonl").read_text().splitlines())
    assert (header["unit"], len(answers)) == ("claim", 30)
    for answer in answers:
        for claim in answer["claims"]:
            assert answer["answer"][claim["start"] : claim["end"]] == claim["text"]
            assert len(claim["entropies"]) == claim["token_end"] - claim["token_start"]
        assert len(answer["whole"]["entropies"]) >= sum(len(c["entropies"]) for c in answer["claims"])


def test_resumed_is_the_same_as_never_stopped(made):
    folder, command, _ = made
    run, before = folder / "c.json.run.jsonl", (folder / "c.json").read_text()
    whole = run.read_bytes()
    run.write_bytes(whole[: len(whole) // 2])  # a torn line, as kill -9 leaves it
    out = subprocess.run([*command, "--resume"], capture_output=True, text=True)
    assert out.returncode == 0, out.stderr
    one, two = json.loads(before), json.loads((folder / "c.json").read_text())
    assert [b["n_correct"] for b in one["blocks"]] == [b["n_correct"] for b in two["blocks"]]
    assert len(run.read_bytes().splitlines()) == 31


def test_evaluate_by_claim(cli, made, tiny_folder):
    folder = made[0]
    same = cli("evaluate", folder / "data.jsonl", "--unit", "claim", "-c", folder / "c.json", "-m", tiny_folder)
    assert same.returncode == 1
    assert "30 of these questions were used for calibration" in same.stderr
    other = labelled(folder / "heldout.jsonl", range(100, 120))
    arguments = ("evaluate", other, "--unit", "claim", "-c", folder / "c.json", "-m", tiny_folder, "--run", "e.run")
    out = cli(*arguments, "--json")
    assert out.returncode == 0, out.stderr
    result = json.loads(out.stdout)
    assert (result["unit"], result["n"], result["answers"]) == ("claim", 40, 20)
    for e in (*(result[k] for k in ("accuracy", "auroc", "aurc", "brier", "ece")), *result["whole_answer"].values()):
        assert e["low"] <= e["value"] <= e["high"]
    expected = result["auroc"]["value"] - result["whole_answer"]["auroc"]["value"]
    assert result["auroc_difference"]["value"] == pytest.approx(expected)
    assert all(sum(p["actions"].values()) == 40 for p in result["policies"])
    shown = cli(*arguments, "--resume")
    assert shown.returncode == 0, shown.stderr
    assert "If every claim had its whole answer's score" in shown.stdout


def test_the_wrong_unit_is_refused(cli, made, tiny_folder, tiny_heldout):
    out = cli("evaluate", tiny_heldout, "-c", made[0] / "c.json", "-m", tiny_folder)
    assert out.returncode == 1
    assert "is a calibrator of claims, and one of answers is needed here" in out.stderr.splitlines()[-1]


@pytest.mark.parametrize("command", [("calibrate", "d.jsonl", "-o", "x.json"), ("evaluate", "d.jsonl", "-c", "x.json")])
def test_claims_have_no_grader(cli, command):
    out = cli(*command, "--unit", "claim", "--grader", "f1")
    assert out.returncode == 1
    assert "--grader f1 is for whole answers" in out.stderr
