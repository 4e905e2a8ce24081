"""Every table of a score stands beside readers of the texts alone and the grader's own errors: in Python, JSON, pages."""

from __future__ import annotations

import json

import numpy as np
import pytest

import guardrail
from guardrail.calibration.metrics import auroc
from guardrail.evaluation.bench_file import load_bench
from guardrail.evaluation.controls import TextReader, grader_errors
from guardrail.grading.grade_answers import Grading
from guardrail.retrieval import embedding


@pytest.fixture(scope="module")
def local(tiny_folder):
    return guardrail.load_model(str(tiny_folder), device="cpu")


@pytest.fixture(scope="module")
def fit(local, tiny_data, tmp_path_factory):
    path = tmp_path_factory.mktemp("fit") / "c.json"
    return guardrail.calibrate(local, tiny_data, path, max_new_tokens=6), path


def test_calibrate_compares_its_score_with_both_readers(fit):
    found = fit[0]
    for control in (found.controls.text, found.controls.question):
        assert control.difference.value == pytest.approx(found.metrics["auroc"].value - control.auroc.value)
        assert control.auroc.n == found.n
    assert found.controls.embedding == "all-minilm-l6-v2"
    assert found.label_errors.auroc.low < found.metrics["auroc"].value < found.label_errors.auroc.high


def test_evaluate_and_report_say_the_same_of_one_run(local, tiny_heldout, fit, tmp_path):
    run = tmp_path / "run.jsonl"
    found = guardrail.evaluate(local, tiny_heldout, fit[1], [], run=run)
    page = guardrail.report(run, tmp_path / "page.html", calibrator=fit[1])
    said, told = found.to_dict(), page.to_dict()
    assert said["controls"]["text"]["auroc"]["n"] == found.n - found.unscored
    assert {name: said[name] for name in ("controls", "label_errors")} == {
        name: told[name] for name in ("controls", "label_errors")
    }
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert f"has AUROC {found.controls.text.auroc.value:.3f} (" in text
    assert f"between {found.label_errors.auroc.low:.3f} and {found.label_errors.auroc.high:.3f} wherever" in text


def test_the_commands_print_them(cli, tiny_folder, tiny_heldout, fit):
    printed = cli("evaluate", tiny_heldout, "-c", fit[1], "-m", tiny_folder, "-p", "default").stdout
    assert "What the texts alone tell, without the model" in printed
    assert "If the grader calls 0.022 of the wrong answers right and 0.212 of the right ones" in " ".join(
        printed.split()
    )


def test_a_bench_sets_its_best_scorer_against_them(local, tiny_heldout, tmp_path):
    file, table = tmp_path / "b.json", tmp_path / "b.md"
    found = guardrail.bench(local, tiny_heldout, ["g-nll"], output=file, table=table, max_new_tokens=6)
    control = found.controls.text
    assert control.difference.value == pytest.approx(found.best.auroc.value - control.auroc.value)
    assert load_bench(file).controls.text.auroc.value == control.auroc.value
    assert f"{found.best.name} minus it: {control.difference.value:.3f} (" in table.read_text(encoding="utf-8")
    older = json.loads(file.read_text(encoding="utf-8"))
    del older["controls"]
    file.write_text(json.dumps(older), encoding="utf-8")
    assert load_bench(file).controls is None


def test_without_an_embedding_everything_else_stands(local, tiny_data, fit, monkeypatch):
    monkeypatch.setattr(embedding, "resolve", lambda spec: "nobody/has-this")
    said: list[str] = []
    found = guardrail.calibrate(local, tiny_data, max_new_tokens=6, cache=False, progress=said.append)
    assert found.controls is None
    assert any(line.startswith("no control of the texts: cannot load the embedding model") for line in said)
    assert found.metrics == fit[0].metrics


def test_claims_are_read_with_their_questions():
    """Claims that are right where they say so are told by their texts, and not by their questions."""
    from types import SimpleNamespace

    said = [("It is so.", True), ("Nothing of the kind was ever seen there.", False)] * 20
    claims = SimpleNamespace(
        records=[{"question": f"What is number {i}?"} for i in range(20)],
        claims=[{"text": text} for text, _ in said],
        correct=np.array([right for _, right in said]),
        groups=np.repeat(np.arange(20), 2),
    )
    found = TextReader().of_claims(claims, np.zeros(40))
    assert found.text.auroc.value > 0.95
    assert found.question.auroc.value < 0.7
    assert found.text.difference.high < 0


def test_the_errors_of_a_grader_count_where_they_are_known():
    rng = np.random.default_rng(0)
    p = rng.random(200)
    correct = rng.random(200) < p
    grades = tuple(correct.tolist())
    known = grader_errors(Grading("alias", grades), p, correct)
    assert known.auroc.low < auroc(1 - p, correct) < known.auroc.high
    assert grader_errors(Grading("alias", grades, by_hand=200), p, correct).share == 0
    assert grader_errors(Grading("judge:local:tiny", grades), p, correct) is None
    assert grader_errors(Grading("alias", grades), p, np.ones(200, dtype=np.bool_)) is None
    assert grader_errors(None, p, correct) is None
