"""`guardrail grade` and `guardrail data split` as a user runs them; graders, labels and tables in calibrate and evaluate."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from guardrail import load_model
from guardrail.calibration.isotonic import IsotonicCalibrator
from guardrail.cli import runtime
from guardrail.cli.main import app
from guardrail.datasets.questions import question_digest
from guardrail.grading.protocol import says_something
from guardrail.unseen import UNSEEN

ANSWERS = ["Paris", "It is Paris.", "Paris or Lyon", "Lyon", "the city of Paris, France", ""]


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        return CliRunner().invoke(app, [str(a) for a in arguments])

    return run


def write(path, *rows, torn=""):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows) + torn)
    return path


@pytest.fixture
def answers(tmp_path):
    """A run in the form that stands by itself, cut off in the middle of a line."""
    records = [
        {"key": str(i), "question": "Capital of France?", "accepted": ["Paris"], "answer": answer, "unscored": None}
        for i, answer in enumerate(ANSWERS)
    ]
    return write(tmp_path / "r.run", {"kind": "guardrail run", "version": 1}, *records, torn='{"key": "9", "answ')


def test_from_disagreement_to_labels_to_rates(run, answers, tmp_path):
    found = run("grade", answers, "--grader", "alias", "--grader", "exact", "-o", "l.jsonl", "--json")
    assert found.exit_code == 0, found.exception
    told = json.loads(found.stdout)
    assert [g["name"] for g in told["graders"]] == ["alias", "exact"]
    assert told["n"] == 6
    (agreed,) = told["agreement"]
    apart = [row["answer"] for row in told["disagreements"]]
    assert agreed["agree"]["value"] == pytest.approx(1 - len(apart) / 6)
    assert apart == ["It is Paris.", "the city of Paris, France"]
    rows = [json.loads(line) for line in (tmp_path / "l.jsonl").read_text().splitlines()]
    assert [row["answer"] for row in rows] == apart
    assert all(row["correct"] is None and row["graders"] == {"alias": True, "exact": False} for row in rows)

    refused = run("grade", answers, "--grader", "alias", "--labels", "l.jsonl")
    assert "l.jsonl:1: `correct` is null" in str(refused.exception)
    assert "l.jsonl exists, and there may be work in it" in str(
        run("grade", answers, "--grader", "alias", "--grader", "f1", "-o", "l.jsonl").exception
    )
    write(tmp_path / "l.jsonl", *({**row, "correct": True} for row in rows))
    judged = run("grade", answers, "--grader", "alias", "--grader", "exact", "--labels", "l.jsonl", "--json")
    told = json.loads(judged.stdout)
    rates = {r["grader"]: (r["right"], r["wrong"], r["false_wrong"]["value"]) for r in told["rates"]}
    assert rates == {"alias": (2, 0, 0.0), "exact": (2, 0, 1.0)}
    assert told["labels_were_picked"] is True
    shown = run("grade", answers, "--grader", "alias", "--labels", "l.jsonl")
    assert "some of the labelled answers were picked because graders disagreed" in " ".join(shown.stdout.split())


def test_json_holds_nothing_that_acts_on_a_terminal(run, tmp_path):
    name = "a\x7f\x9b31m\u202e.jsonl"
    write(tmp_path / name, {"question": "?", "accepted": ["Ulm"], "answer": "Bonn\x7f\x9b", "correct": True})
    found = run("grade", name, "--grader", "alias", "--json")
    assert found.exit_code == 0, found.exception
    assert not UNSEEN.search(found.stdout)
    assert json.loads(found.stdout)["answers"] == name


def test_the_labelled_answers_of_a_file_or_of_data(run, tmp_path):
    labelled = write(
        tmp_path / "a.jsonl",
        *(
            {"question": "q", "accepted": ["Paris"], "answer": a, "correct": c}
            for a, c in (
                ("Paris", True),
                ("Lutetia", True),
                ("Lyon", False),
                ("Paris or Lyon", False),
                ("Parisian", False),
            )
        ),
    )
    data = write(
        tmp_path / "d.jsonl",
        {"question": "q", "answers": ["Paris"],
         "labels": [{"answer": "Lutetia", "correct": True}, {"answer": "Lyon", "correct": False}]},
    )  # fmt: skip
    for path, right, wrong in ((labelled, 2, 3), (data, 1, 1)):
        out = run("grade", path, "--json")
        assert out.exit_code == 0, out.exception
        told = json.loads(out.stdout)
        (rates,) = told["rates"]
        assert (rates["grader"], rates["right"], rates["wrong"]) == ("alias", right, wrong)
        assert rates["false_wrong"]["value"] == 1 / right
        assert rates["false_right"]["value"] == 0
        assert told["labels_were_picked"] is False


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ([], "no rows; give a run"),
        ([{"kind": "guardrail run"}], "holds no answers yet"),
        ([{"kind": "guardrail run"}, {"key": "a", "answer": "b"}], ":2: the record does not hold its question"),
        ([{"kind": "guardrail run", "unit": "claim"}, {"key": "a"}], "is a run of claims"),
        ([{"question": "q", "answers": ["a"]}], "no row has `labels`"),
        ([{"question": "q", "answer": "a", "correct": True}], "has no `accepted` forms to grade by"),
        ([{"x": 1}], "unknown key 'x'"),
    ],
)
def test_files_that_cannot_be_graded(run, tmp_path, rows, says):
    out = run("grade", write(tmp_path / "x.jsonl", *rows))
    assert says in str(out.exception)


def test_one_grader_needs_labels_and_labels_need_their_answers(run, answers, tmp_path):
    assert "one grader has nothing to be held against" in str(run("grade", answers).exception)
    other = write(tmp_path / "o.jsonl", {"question": "else", "answer": "x", "correct": True})
    assert "none of the 1 labelled answers is among the 6" in str(run("grade", answers, "--labels", other).exception)


def test_split_writes_parts_that_do_not_leak_and_overwrites_nothing(run, tmp_path):
    rows = [
        {"question": f"Q {i}?", "answers": ["a"], "id": i, "paraphrases": [f"Q {i + 1}?"] if i % 2 else []}
        for i in range(40)
    ]
    write(tmp_path / "d.jsonl", *rows, rows[0])
    out = run("data", "split", "d.jsonl", "-o", "parts", "--parts", "a=0.5,b=0.5")
    assert out.exit_code == 0, out.exception
    assert "40 questions in 21 groups, 1 rows left out whose question came before" in out.stdout
    parts = {
        name: [json.loads(x) for x in (tmp_path / "parts" / f"{name}.jsonl").read_text().splitlines()] for name in "ab"
    }
    assert sorted(r["id"] for rows in parts.values() for r in rows) == list(range(40))
    assert parts["a"] == [r for r in rows if r in parts["a"]], "whole rows, in their order"
    where = {r["id"]: name for name, found in parts.items() for r in found}
    assert all(where[i] == where[i + 1] for i in range(1, 39, 2))
    record = json.loads((tmp_path / "parts" / "split.json").read_text())
    assert {name: part["n"] for name, part in record["parts"].items()} == {
        name: len(found) for name, found in parts.items()
    }
    again = run("data", "split", "d.jsonl", "-o", "parts", "--parts", "a=0.5,b=0.5")
    assert "a.jsonl exists" in str(again.exception)
    same = run("data", "split", "d.jsonl", "-o", "more", "--parts", "a=0.5,b=0.5")
    assert same.exit_code == 0
    assert (tmp_path / "more" / "a.jsonl").read_text() == (tmp_path / "parts" / "a.jsonl").read_text()
    assert "is a file; give a folder" in str(run("data", "split", "d.jsonl", "-o", "d.jsonl").exception)


def test_calibrate_records_grader_labels_and_source_and_evaluate_uses_them(
    run, tiny_folder, tiny_data, tiny_heldout, tmp_path, monkeypatch
):
    local = load_model(str(tiny_folder), device="cpu")
    monkeypatch.setattr(runtime, "load", lambda *_: local)
    rows = [json.loads(line) for line in tiny_data.read_text().splitlines()]
    csv = "question,answers,paraphrases\n" + "".join(
        '"{}","{}","{}"\n'.format(r["question"], json.dumps(r["answers"]).replace('"', '""'), f"Say number {r['id']}!")
        for r in rows
    )
    (tmp_path / "d.csv").write_text(csv)
    first = run("calibrate", "d.csv", "-o", "c.json", "--grader", "exact", "--max-new-tokens", 6)
    assert first.exit_code == 0, first.exception
    origin = IsotonicCalibrator.load(tmp_path / "c.json").provenance
    assert origin.source == {"kind": "file", "name": "d.csv"}
    assert origin.grading == {"grader": "exact", "by_hand": 0}

    records = [json.loads(line) for line in (tmp_path / "c.json.run.jsonl").read_text().splitlines()][1:]
    by_key = dict(zip((r["key"] for r in records), records, strict=True))
    said, wrong = next(
        (answer, r)
        for r in rows
        if r["answers"] == ["nothing like it"]
        and says_something(answer := by_key[question_digest(r["question"])]["answer"])
    )
    write(tmp_path / "l.jsonl", {"question": wrong["question"], "answer": said, "correct": True})
    labelled = run("calibrate", "d.csv", "-o", "c2.json", "--grader", "exact", "--max-new-tokens", 6, "--labels", "l.jsonl",
                   "--run", "c.json.run.jsonl", "--resume")  # fmt: skip
    assert labelled.exit_code == 0, labelled.exception
    assert "graded by exact; 1 of 90 by hand" in labelled.stderr
    one, two = (json.loads((tmp_path / name).read_text()) for name in ("c.json", "c2.json"))
    assert two["n_correct"] == one["n_correct"] + 1
    assert two["provenance"]["grading"]["by_hand"] == 1
    assert two["provenance"]["grading"]["labels_sha256"]

    evaluated = run("evaluate", tiny_heldout, "-c", "c2.json", "--json")
    assert evaluated.exit_code == 0, evaluated.exception
    assert json.loads(evaluated.stdout)["grading"] == {"grader": "exact", "by_hand": 0}
    leaked = write(tmp_path / "leak.jsonl", {"question": "say number 4", "answers": ["x"]})
    for command in (("evaluate", leaked), ("tune", leaked, "-o", "p.yaml", "--max-error", "0.5")):
        assert "1 of these questions were used for calibration" in str(run(*command, "-c", "c2.json").exception)


def test_a_grader_that_cannot_be_loaded_is_noticed_before_a_question_is_asked(
    run, tiny_folder, tiny_data, tmp_path, monkeypatch
):
    local = load_model(str(tiny_folder), device="cpu")
    monkeypatch.setattr(runtime, "load", lambda *_: local)
    out = run("calibrate", tiny_data, "-o", "c.json", "--grader", f"bem:{tmp_path / 'none'}")
    assert "cannot load the bem grader's model" in str(out.exception)
    assert not (tmp_path / "c.json.run.jsonl").exists()


def test_claims_take_no_labels_of_answers(run, tmp_path):
    out = run("calibrate", "bundled", "-o", "c.json", "--unit", "claim", "--labels", "l.jsonl")
    assert "--labels l.jsonl is for whole answers" in str(out.exception)
