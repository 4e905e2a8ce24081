"""A policy tuned on what a chain answers, a report of it, and the commands."""

from __future__ import annotations

import json

import pytest
from langchain_core.output_parsers import StrOutputParser

import guardrail
from guardrail.errors import CalibrationError, DataError
from guardrail.langchain import ChatGuarded, read_metadata
from guardrail.types import UNLIKE
from tests.helpers.tiny_chain import FITTED, HELD_OUT, LENGTH, PROMPT, chat, rows, saved_model

pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return saved_model(tmp_path_factory.mktemp("tiny-model"))


@pytest.fixture(scope="module")
def local(folder):
    return guardrail.load_model(str(folder), device="cpu")


@pytest.fixture(scope="module")
def asked(local):
    return PROMPT | chat(local) | StrOutputParser()


@pytest.fixture(scope="module")
def fit(asked, tmp_path_factory):
    folder = tmp_path_factory.mktemp("fit")
    data = rows(folder / "data.jsonl", asked, FITTED[:50])
    return guardrail.calibrate_chain(asked, data, folder / "c.json", scorer="hybridgrad"), folder, data


@pytest.fixture(scope="module")
def measured(asked, fit):
    """The chain's answers to other questions, and their run file."""
    data, run = rows(fit[1] / "other.jsonl", asked, HELD_OUT), fit[1] / "held_out.run.jsonl"
    found = guardrail.evaluate_chain(asked, data, fit[1] / "c.json", ["observe"], run=run)
    return found, data, run


def test_a_policy_is_tuned_on_what_a_chain_answers(local, asked, fit, measured, tmp_path):
    """What the thresholds count is what the same run's confidences say, found again by hand."""
    out = tmp_path / "tuned.yaml"
    options = {"calibrator": fit[1] / "c.json", "run": measured[2], "resume": True, "confidence": 0.5}
    found = guardrail.tune_chain(asked, measured[1], max_error=0.9, output=out, **options)
    assert found.reached
    chosen = found.answered.chosen
    lines = [json.loads(line) for line in measured[2].read_text().splitlines()[1:]]
    report = guardrail.report(measured[2], calibrator=fit[1] / "c.json", policies=[out])
    answers = report.figures.answers
    assert len(lines) == found.questions == len(answers.records)
    told = [
        (c.p_correct, bool(right))
        for c, right in zip(report.figures.confidences, answers.correct, strict=True)
        if c.p_correct is not None and c.in_range and c.familiar is not False and c.p_correct >= chosen.threshold
    ]
    assert (chosen.n, chosen.errors) == (len(told), sum(not right for _, right in told))
    levels = {block.p_correct for own in fit[0].calibrator.contexts.values() for block in own.blocks}
    assert min(levels) - 0.001 <= min(test.threshold for test in found.answered.tests)
    model = ChatGuarded(model=local, calibrator=fit[1] / "c.json", policy=out, max_tokens=LENGTH)
    told = read_metadata((PROMPT | model).invoke("What is number 156?"))
    shown = told["in_range"] and told["familiarity"] > UNLIKE and told["confidence"] >= chosen.threshold
    assert (told["policy"], told["action"]) == ("tuned", "answer" if shown else "abstain")
    with pytest.raises(DataError, match="used for calibration"):
        guardrail.tune_chain(asked, fit[2], max_error=0.9, calibrator=fit[1] / "c.json")
    with pytest.raises(CalibrationError, match="--through"):
        guardrail.tune(local, measured[1], max_error=0.9, calibrator=fit[1] / "c.json")


def test_a_chains_run_is_reported(fit, measured):
    found = guardrail.report(measured[2], fit[1] / "report.html", calibrator=fit[1] / "c.json", policies=["observe"])
    for name, figure in measured[0].metrics.items():
        assert found.figures.metrics[name].value == pytest.approx(figure.value), name
    assert "RunnableSequence" in (fit[1] / "report.html").read_text()


def test_the_commands(cli, folder, asked, tmp_path):
    (tmp_path / "app.py").write_text(
        "from langchain_core.prompts import ChatPromptTemplate\nfrom guardrail.langchain import ChatGuarded\n"
        "prompt = ChatPromptTemplate([('system', 'You are brief.'), ('human', 'Question: {question}\\nAnswer:')])\n"
        f"chain = prompt | ChatGuarded(model={str(folder)!r}, calibrator='c.json', max_tokens={LENGTH})\n"
    )
    rows(tmp_path / "q.jsonl", asked, FITTED[:50])
    rows(tmp_path / "h.jsonl", asked, HELD_OUT[:30])
    made = cli("calibrate", "q.jsonl", "--through", "app.py:chain", "-o", "c.json", "--scorer", "hybridgrad")
    assert made.returncode == 0, made.stderr
    assert "By kind of conversation" in made.stdout
    content = json.loads((tmp_path / "c.json").read_text())
    assert list(content["contexts"]) == ["system"]
    assert content["provenance"]["source"]["through"] == "app.py:chain"
    seen = cli("evaluate", "h.jsonl", "--through", "app.py:chain", "-c", "c.json", "--json")
    assert seen.returncode == 0, seen.stderr
    assert json.loads(seen.stdout)["ece_calibrated"]["n"] > 20
    for option in (["--model", "m"], ["--prompt", "{question}"], ["--batch-size", "4"]):
        refused = cli("calibrate", "q.jsonl", "--through", "app.py:chain", "-o", "d.json", *option)
        assert refused.returncode == 1
        assert f"{option[0]} does not go with --through" in refused.stderr
    through = ["--through", "app.py:chain", "-c", "c.json"]
    tuned = cli("tune", "h.jsonl", *through, "--max-error", "0.95", "--confidence", "0.5", "-o", "p.yaml", "--json")
    assert tuned.returncode == 0, tuned.stderr
    assert (tmp_path / "p.yaml").exists()
    told = cli("report", "p.yaml.run.jsonl", "-c", "c.json", "-p", "p.yaml", "-o", "report.html", "--json")
    assert told.returncode == 0, told.stderr
    assert json.loads(told.stdout)["policies"][0]["promises"][0]["own_data"]
    assert "app.py:chain" in (tmp_path / "report.html").read_text()
    nothing_to_ask = cli("report", "h.jsonl", "--through", "app.py:chain", "-o", "report.html")
    assert nothing_to_ask.returncode == 1
    assert "guardrail evaluate DATA.jsonl --through app.py:chain --run RUN.jsonl" in nothing_to_ask.stderr
