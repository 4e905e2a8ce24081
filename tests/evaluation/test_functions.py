"""The commands as functions: what Python gets is what a command prints or writes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import guardrail
from guardrail.errors import DataError


@pytest.fixture(scope="module")
def calibrator(command_line, tiny_folder, tiny_data, tmp_path_factory):
    """A calibrator of the tiny model's answers."""
    path = tmp_path_factory.mktemp("calibrator") / "c.json"
    done = command_line("calibrate", tiny_data, "-o", path, "-m", tiny_folder, "--max-new-tokens", 6)
    assert done.returncode == 0, done.stderr
    return path


@pytest.fixture(scope="module")
def local(tiny_folder):
    return guardrail.load_model(str(tiny_folder), device="cpu")


def test_evaluate(cli, local, tiny_folder, tiny_heldout, calibrator):
    printed = json.loads(
        cli("evaluate", tiny_heldout, "-c", calibrator, "-m", tiny_folder, "-p", "default", "--json").stdout
    )
    lines = []
    found = guardrail.evaluate(local, tiny_heldout, calibrator, ["default"], progress=lines.append)
    assert found.to_dict() == printed
    assert found.subject.calibrator == str(calibrator)
    assert found.unlike.n == found.n - found.unscored
    assert found.ece_calibrated.n == round((1 - found.unlike.value) * found.unlike.n)
    assert found.ece_by_chance.n == found.ece_calibrated.n
    assert found.to_dict()["ece_by_chance"]["value"] == found.ece_by_chance.value
    assert any(line.startswith("questions answered: 60 of 60") for line in lines)


def test_tune(cli, local, tiny_folder, tiny_heldout, calibrator):
    options = {"max_error": 0.9, "confidence": 0.6}
    printed = cli(
        "tune", tiny_heldout, "-o", "cli.yaml", "-c", calibrator, "-m", tiny_folder, "--max-error", 0.9,
        "--confidence", 0.6, "--json",
    )  # fmt: skip
    found = guardrail.tune(local, tiny_heldout, output="python.yaml", calibrator=calibrator, **options)
    assert found.to_dict() == json.loads(printed.stdout)
    assert found.reached
    assert found.policy.proof.familiar
    assert found.policy.text.count("familiar: true") == 2  # the rule that answers, and the proof
    written = guardrail.Policy.load("cli.yaml")
    assert guardrail.Policy.load("python.yaml").proof == found.policy.proof
    assert written.proof.model_copy(update={"command": "guardrail.tune"}) == found.policy.proof
    assert guardrail.tune(local, tiny_heldout, calibrator=calibrator, **options).to_dict() == found.to_dict()


def test_a_mistake_shows_before_a_model_is_loaded(tiny_heldout):
    def never():
        raise AssertionError("loaded")

    for call in (
        lambda: guardrail.evaluate(never, "missing.jsonl"),
        lambda: guardrail.evaluate(never, tiny_heldout, resume=True),
        lambda: guardrail.tune(never, tiny_heldout, max_error=1.0),
        lambda: guardrail.tune(never, tiny_heldout, max_error=0.1, output="no/folder.yaml"),
    ):
        with pytest.raises(DataError):
            call()


def test_bench(cli, local, tiny_folder, tiny_heldout):
    done = cli(
        "bench", tiny_heldout, "-m", tiny_folder, "--scorers", "g-nll", "--max-new-tokens", 6, "-o", "b.json", "--json"
    )  # fmt: skip
    printed = json.loads(done.stdout)
    found = guardrail.bench(local, tiny_heldout, ["g-nll"], max_new_tokens=6, output="p.json", table="p.md")
    told = found.to_dict()
    assert json.loads(Path("p.json").read_text()) == told
    assert told["command"] == "guardrail.bench"
    assert Path("p.md").read_text().startswith("    guardrail.bench\n")
    for key in ("kind", "version", "model", "data", "grader", "asking", "n", "accuracy", "versions"):
        assert told[key] == printed[key]
    for ours, theirs in zip(told["scorers"], printed["scorers"], strict=True):
        measured = ("seconds", "memory_mb")
        assert {k: v for k, v in ours.items() if k not in measured} == {
            k: v for k, v in theirs.items() if k not in measured
        }


def test_score(cli, local, tiny_folder, tmp_path):
    rows = [{"prompt": f"What is number {i}?", "response": f"a lake {i}"} for i in range(3)] + [
        {"prompt": "no response"}
    ]
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    done = cli("score", "in.jsonl", "-m", tiny_folder, "--paper")
    printed = [json.loads(line) for line in done.stdout.splitlines()]
    kept = guardrail.score(local, rows, paper=True)
    assert list(kept.rows) == printed
    assert (kept.scored, kept.unscored, kept.failed, kept.total, done.returncode) == (3, 0, 1, 4, 1)
    written = guardrail.score(local, "in.jsonl", "out.jsonl", paper=True)
    assert (written.rows, written.failed) == ((), 1)
    assert Path("out.jsonl").read_text() == done.stdout


def test_report(cli, local, tiny_heldout, calibrator):
    guardrail.evaluate(local, tiny_heldout, calibrator, (), run="run.jsonl")
    printed = cli("report", "run.jsonl", "-o", "cli.html", "-c", calibrator, "-p", "default", "--json")
    found = guardrail.report("run.jsonl", "python.html", calibrator=calibrator, policies=["default"])
    assert found.to_dict() == json.loads(printed.stdout)
    assert Path("python.html").read_text().count("<svg") == Path("cli.html").read_text().count("<svg")
    assert guardrail.report("run.jsonl", calibrator=calibrator, policies=["default"]).to_dict() == found.to_dict()


def test_sps(cli, local, tiny_folder, tmp_path):
    rows = [{"question": f"What is number {i}?", "paraphrases": [f"Which one is number {i}?"]} for i in range(3)]
    (tmp_path / "p.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    printed = json.loads(cli("sps", "p.jsonl", "-o", "cli.json", "-m", tiny_folder, "--json").stdout)
    found = guardrail.sps(local, "p.jsonl", "python.json", html="python.html")
    assert {**found.model_dump(mode="json"), "command": printed["command"]} == printed
    assert json.loads(Path("python.json").read_text()) == found.model_dump(mode="json")
    assert "<html" in Path("python.html").read_text()


def test_paraphrases_are_made_by_the_model_itself(local, tmp_path):
    (tmp_path / "q.jsonl").write_text('{"question": "What is one?"}\n{"question": "What is two?"}\n')
    with pytest.raises(DataError, match="--paraphrases-out FILE or --output FILE"):
        guardrail.sps(local, tmp_path / "q.jsonl", paraphrase_with=local)


def test_calibrate_takes_the_better_of_two_where_no_scorer_is_asked_for(local, tiny_data):
    def fitted(**options):
        return guardrail.calibrate(local, tiny_data, grader="exact", max_new_tokens=6, **options)

    fit, asked = fitted(), fitted(scorer="stacked")
    assert set(fit.stacking.auroc_singles) == {"hybridgrad"}
    assert set(asked.stacking.auroc_singles) == {"hybridgrad", "paragrad", "g-nll"}
    assert fit.stacking.auroc_stacked == asked.stacking.auroc_stacked
    assert fit.stacking.adopted == (fit.stacking.difference.low > 0)
    assert fit.calibrator.provenance.scorer == ("stacked" if fit.stacking.adopted else "hybridgrad")
    assert (fit.selection is None) == fit.stacking.adopted
    plain, paper = fitted(scorer="hybridgrad"), fitted(paper=True)
    assert (plain.stacking, paper.stacking) == (None, None)
    assert plain.selection.p_correct.tolist() != paper.selection.p_correct.tolist() or not plain.selection.adopted
    if not fit.stacking.adopted:
        assert fit.p_correct.tolist() == plain.p_correct.tolist()
    risks = {r.bound: r for r in fit.risks}
    assert risks[0.0].wrong.value == pytest.approx(1 - fit.metrics["accuracy"].value)
    assert risks[0.3].wrong.n == int((fit.p_correct >= 0.3).sum())


def test_calibrate_says_what_each_shipped_policy_would_have_done(local, tiny_data):
    fit = guardrail.calibrate(local, tiny_data, grader="exact", max_new_tokens=6)
    by_name = {done.policy: done for done in fit.policies}
    assert set(by_name) == {"default", "observe", "retrieve_first", "strict"}
    assert by_name["observe"].actions["answer"] == fit.n + sum(fit.left_out.values())
    sure = int((fit.p_correct >= 0.5).sum())
    assert by_name["default"].actions["answer"] <= sure  # those that were cut off are hedged
    assert by_name["default"].actions["abstain"] >= int((fit.p_correct < 0.3).sum())


def test_a_report_of_a_run_knows_its_questions_without_the_model(local, tiny_heldout, calibrator, tmp_path):
    run = tmp_path / "run.jsonl"
    evaluated = guardrail.evaluate(local, tiny_heldout, calibrator, ["default"], run=run)
    tuned = guardrail.tune(local, tiny_heldout, calibrator=calibrator, max_error=0.9, confidence=0.6).policy
    reported = guardrail.report(run, calibrator=calibrator, policies=["default", tuned]).figures
    assert sum(c.familiar is False for c in reported.confidences) == round(evaluated.unlike.value * evaluated.unlike.n)
    assert reported.metrics["ece"] == evaluated.metrics["ece"]
    assert reported.policies[0].outcome.actions == evaluated.policies[0].actions
    assert reported.policies[1].outcome.actions["answer"] == tuned.proof.answered.n
