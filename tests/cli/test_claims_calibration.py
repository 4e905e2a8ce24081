"""`calibrate` and `evaluate` by claim, on a tiny model on disk, in real processes."""

from __future__ import annotations

import json

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
def made(command_line, tiny_folder, tmp_path_factory):
    """A calibrator of claims of the tiny model, made by the command; the folder that it lies in; the report."""
    folder = tmp_path_factory.mktemp("claims")
    data = labelled(folder / "data.jsonl", range(30))
    command = ["calibrate", data, "--unit", "claim", "-o", folder / "c.json", "-m",
               tiny_folder, "--batch-size", "4", "--prompt", "{question}", "--no-cache"]  # fmt: skip
    out = command_line(*command)
    assert out.returncode == 0, out.stderr
    return folder, command, out.stdout


def test_calibrate_by_claim(made):
    folder, _, report = made
    assert "claims scored   60 of 30 answers" in report
    assert "where each claim has its answer's score" in report
    assert "What the texts alone tell, without the model" in report
    assert "question and claim" in report
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


def test_resumed_is_the_same_as_never_stopped(made, command_line):
    folder, command, _ = made
    run, before = folder / "c.json.run.jsonl", (folder / "c.json").read_text()
    whole = run.read_bytes()
    run.write_bytes(whole[: len(whole) // 2])  # a torn line, as kill -9 leaves it
    out = command_line(*command, "--resume")
    assert out.returncode == 0, out.stderr
    one, two = json.loads(before), json.loads((folder / "c.json").read_text())
    assert [b["n_correct"] for b in one["blocks"]] == [b["n_correct"] for b in two["blocks"]]
    assert len(run.read_bytes().splitlines()) == 31


def test_a_bound_on_claims_takes_one_answer_a_question(cli, made, tiny_folder, tmp_path):
    folder = made[0]
    other = labelled(tmp_path / "twice.jsonl", range(200, 220))
    rows = [json.loads(line) for line in other.read_text().splitlines()]
    again = [{**row, "answer": row["answer"].replace("The", "This"), "claims": []} for row in rows[:3]]
    for row in again:
        row["claims"] = [{"text": row["answer"].split(". ")[0] + ".", "correct": True}]
    other.write_text("".join(json.dumps(row) + "\n" for row in [*rows, *again]))
    out = cli("tune", other, "--unit", "claim", "--all-right", "0.9", "-o", tmp_path / "p.yaml", "-c", folder / "c.json",
              "-m", tiny_folder)  # fmt: skip
    assert out.returncode == 1
    assert "3 rows of" in out.stderr
    assert "keep one answer a question" in out.stderr


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
    for control in (result["controls"]["text"], result["controls"]["question"]):
        assert 0 <= control["auroc"]["low"] <= control["auroc"]["value"] <= control["auroc"]["high"] <= 1
        assert control["difference"]["value"] == pytest.approx(result["auroc"]["value"] - control["auroc"]["value"])
    shown = cli(*arguments, "--resume")
    assert shown.returncode == 0, shown.stderr
    assert "If every claim had its whole answer's score" in shown.stdout
    assert "What the texts alone tell, without the model" in shown.stdout


def test_the_wrong_unit_is_refused(cli, made, tiny_folder, tiny_heldout):
    out = cli("evaluate", tiny_heldout, "-c", made[0] / "c.json", "-m", tiny_folder)
    assert out.returncode == 1
    assert "is a calibrator of claims, and one of answers is needed here" in out.stderr.splitlines()[-1]


@pytest.mark.parametrize("command", [("calibrate", "d.jsonl", "-o", "x.json"), ("evaluate", "d.jsonl", "-c", "x.json")])
def test_claims_have_no_grader(cli, command):
    out = cli(*command, "--unit", "claim", "--grader", "f1")
    assert out.returncode == 1
    assert "--grader f1 is for whole answers" in out.stderr


@pytest.fixture
def tuned(cli, made, tiny_folder):
    """`guardrail tune --unit claim` on other questions, whose answers keep a run; in a folder of its own."""
    data = labelled(made[0] / "tuning.jsonl", range(200, 240))

    def run(*arguments):
        return cli("tune", data, "--unit", "claim", "-c", made[0] / "c.json", "-m", tiny_folder, "-o", "p.yaml",
                   "--run", made[0] / "tuning.run.jsonl", "--resume", *arguments)  # fmt: skip

    return run


def test_a_promise_about_claims_from_end_to_end(cli, made, tiny_folder, tuned):
    """Labels know nothing of the model, so only a mild promise can be kept; evaluate checks it on questions of its own."""
    reached = tuned("--all-right", "0.2", "--json")
    assert reached.returncode == 0, reached.stderr
    found = json.loads(reached.stdout)
    assert (found["unit"], found["reached"], found["questions"], found["answers"]) == ("claim", True, 40, 40)
    chosen, kept = found["chosen"], found["kept"]
    assert chosen["n"] == kept["lost"]["n"] == 40
    assert chosen["bound"] <= 0.8
    assert chosen["errors"] == round(40 * kept["lost"]["value"]) > 0
    assert kept["kept"] == chosen["kept"] <= kept["claims"] == 80
    assert kept["retention"]["low"] <= kept["kept"] / 80 <= kept["retention"]["high"]
    assert (
        "at least 20.0% of answers keep no wrong claim with confidence 0.95" in cli("policy", "check", "p.yaml").stdout
    )
    other = labelled(made[0] / "checked.jsonl", range(300, 320))
    checked = cli(
        "evaluate", other, "--unit", "claim", "-c", made[0] / "c.json", "-m", tiny_folder, "-p", "p.yaml", "--json"
    )
    assert checked.returncode == 0, checked.stderr
    policy = json.loads(checked.stdout)["policies"][0]
    assert policy["lost"]["n"] == 20
    assert (policy["promised"], policy["promise"]) == (0.8, "kept")
    text = tuned("--all-right", "0.2", "--marginal")
    assert text.returncode == 0, text.stderr
    assert "holds on average" in text.stdout


def test_a_promise_out_of_reach(cli, tuned):
    out = tuned("--all-right", "0.99")
    assert out.returncode == 3
    last = out.stderr.splitlines()[-1]
    assert last.startswith("unreachable: no threshold shows that at least 0.99 of the answers keep no wrong claim")
    assert (
        "299 answers without one would be the fewest that can show it: take more questions; nothing is written" in last
    )


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--unit", "claim"), 2, "Missing option '--all-right'"),
        ((), 2, "Missing option '--max-error'"),
        (("--max-error", "0.1", "--all-right", "0.9"), 1, "--all-right is for claims"),
        (("--unit", "claim", "--all-right", "0.9", "--max-error", "0.1"), 1, "--max-error is for whole answers"),
        (("--unit", "claim", "--all-right", "0.9", "--grader", "f1"), 1, "--grader is for whole answers"),
        (
            ("--unit", "claim", "--all-right", "0.9", "--marginal", "--confidence", "0.9"),
            1,
            "--marginal promises an average",
        ),
        (("--unit", "claim", "--all-right", "1"), 1, "--all-right is 1; it must lie between 0 and 1, ends excluded"),
    ],
)
def test_options_of_the_other_unit_are_refused(cli, arguments, code, message):
    out = cli("tune", "q.jsonl", "-o", "p.yaml", *arguments)
    assert out.returncode == code
    assert message in out.stderr
