"""Answers with passages: calibrated on a tiny model, used by a guard, measured again, in Python and by the commands."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from langchain_core.documents import Document

import guardrail
from guardrail import Guard, IsotonicCalibrator, Policy
from guardrail.datasets.questions import QuestionRow
from guardrail.errors import CalibrationError, DataError
from guardrail.evaluation.with_evidence import Judged, assess_with_evidence
from guardrail.retrieval import load_retriever, reference_text, with_evidence
from guardrail.runs.asking import Asking
from guardrail.runs.evidence import looked_up
from guardrail.runs.prompts import DIRECT
from guardrail.runs.run_answers import Answers
from guardrail.testing import tiny_model, tiny_tokenizer

LENGTH = 6
ASKING = Asking(DIRECT, None, LENGTH)


class Shelf:
    """Finds a passage for every question but those about 13."""

    def __init__(self, passages=1):
        self.passages = passages

    def invoke(self, query, /):
        number = query.removeprefix("What is number ").removesuffix("?")
        if number == "13":
            return []
        return [Document(f"Number {number} is the {n}th of its kind.") for n in range(self.passages)]


@pytest.fixture(scope="module")
def roomy(tmp_path_factory):
    """A tiny model whose context has room for passages."""
    folder = tmp_path_factory.mktemp("roomy-model")
    tiny_model(vocab_size=261, max_position_embeddings=1024).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def local(roomy):
    return guardrail.load_model(str(roomy), device="cpu")


def questions(local, numbers, path, retriever=None):
    """The tiny model's own answers are the accepted ones for every other question, with passages and without."""
    rows = [QuestionRow(f"What is number {i}?", ("nothing",)) for i in numbers]
    looked = looked_up(rows, retriever or Shelf(), 1)
    prompts = [(one.row.question, with_evidence(ASKING.messages(one.row.question), one.evidence)) for one in looked]
    prompts += [(row.question, ASKING.messages(row.question)) for row in rows]
    said = {row.question: [] for row in rows}
    traces = local.generate_batch([messages for _, messages in prompts], max_new_tokens=LENGTH)
    for (question, _), trace in zip(prompts, traces, strict=True):
        said[question].append(trace.text)
    lines = [
        {"question": q, "answers": [a for a in answers if any(c.isalnum() for c in a)] if i % 2 else ["no such thing"]}
        for i, (q, answers) in enumerate(said.items())
    ]
    path.write_text(
        "".join(json.dumps({**line, "answers": line["answers"] or ["nothing like it"]}) + "\n" for line in lines)
    )
    return path


@pytest.fixture(scope="module")
def data(local, tmp_path_factory):
    folder = tmp_path_factory.mktemp("passages")
    return questions(local, range(60), folder / "q.jsonl"), questions(local, range(60, 100), folder / "h.jsonl")


@pytest.fixture(scope="module")
def fit(local, data, tmp_path_factory):
    out = tmp_path_factory.mktemp("fit") / "c.json"
    return guardrail.calibrate(
        local, data[0], out, retriever=Shelf(), grader="exact", max_new_tokens=LENGTH, scorer="hybridgrad", cache=False
    )


def test_each_question_is_asked_with_its_own_passages_and_with_anothers():
    rows = [QuestionRow(f"What is number {i}?", ("1",)) for i in (1, 2, 3, 13)]
    looked = looked_up(rows, Shelf(), 1)
    assert sorted(one.key.partition(":")[2] for one in looked) == ["other"] * 3 + ["own"] * 3
    for one in looked:
        number = one.row.question.split()[-1].rstrip("?")
        assert (f"Number {number} is" in one.evidence[0].text) == (one.whose == "own")
        assert number != "13", "nothing is found for it"
    assert looked_up(rows, Shelf(), 1) == looked


def test_the_calibrator_has_a_curve_for_answers_with_passages(fit):
    own = fit.calibrator.contexts["evidence"]
    assert own.scorer == "stacked"
    assert own.source == {"retriever": "Shelf", "passages": 1, "questions": 240}
    assert own.n == fit.evidence.own.accuracy.n + fit.evidence.other.accuracy.n
    assert fit.evidence.questions <= 59
    assert own.metrics["ece"].value == fit.evidence.metrics["ece"].value
    assert 0 <= fit.evidence.ece_mixed.value <= 1
    assert fit.evidence.ece_by_chance.n == fit.evidence.ece_mixed.n


def test_a_guard_uses_it_where_there_are_passages(fit, local):
    guard = Guard(model=local, calibrator=fit.calibrator, policy="retrieve_first", retriever=Shelf())
    first, last = guard.answer("What is number 7?").attempts
    assert (first.score.name, last.score.name) == ("hybridgrad", "stacked")
    assert (first.confidence.basis, last.confidence.basis) in [("calibrated",) * 2, ("extrapolated",) * 2]
    assert "evidence" not in last.confidence.reason
    expected = fit.calibrator.predict(last.score, last.confidence.familiarity, "evidence")
    assert last.confidence.p_correct == expected.p_correct
    scorer = guard.calibrated.contexts["evidence"]
    marked = replace(last.trace, evidence=last.evidence, asked=ASKING.messages("What is number 7?"))
    assert last.score.value == pytest.approx(scorer.score_traces([marked])[0].value, rel=1e-3)


def test_batches_mix_answers_with_and_without(fit, local):
    """13 finds nothing, so its second pass has no passages; each is judged as it would be alone."""
    guard = Guard(model=local, calibrator=fit.calibrator, policy="retrieve_first", retriever=Shelf())
    asked = ["What is number 7?", "What is number 13?", "What is number 8?"]
    together = guard.answer_batch(asked)
    for question, verdict in zip(asked, together, strict=True):
        alone = guard.answer(question)
        assert verdict.confidence.p_correct == pytest.approx(alone.confidence.p_correct, abs=1e-3)
        assert verdict.score.name == ("hybridgrad" if "13" in question else "stacked")


def test_what_it_was_not_fitted_on_is_extrapolated(fit, local):
    text = """
version: 1
name: three
retrieval: {passages: 3}
rules:
  - {name: look, when: {evidence: absent}, then: retrieve}
  - {name: all, when: {}, then: answer}
"""
    policy = Policy.from_text(text, "three.yaml")
    three = Guard(model=local, calibrator=fit.calibrator, policy=policy, retriever=Shelf(3))
    verdict = three.answer("What is number 7?")
    assert verdict.confidence.basis == "extrapolated"
    assert "given with 3 passages, the calibration's limit was 1" in verdict.confidence.reason
    turns = [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hi"}]
    own = three.answer([*turns, {"role": "user", "content": "What is number 7?"}])
    assert (own.confidence.basis, own.score.name) == ("extrapolated", "hybridgrad")
    assert own.confidence.reason.startswith(
        "messages of your own, not the prompt of the calibration (with several turns); g"
    )
    plain = IsotonicCalibrator.from_dict(
        {k: v for k, v in fit.calibrator.to_dict().items() if k not in ("contexts", "digest")}
    )
    without = Guard(model=local, calibrator=plain, policy="retrieve_first", retriever=Shelf()).answer(
        "What is number 7?"
    )
    assert without.confidence.reason.startswith("given with evidence")


def test_passages_that_a_chain_puts_into_its_messages_are_passages(fit, local):
    question = "What is number 7?"
    looked = Guard(model=local, calibrator=fit.calibrator, policy="retrieve_first", retriever=Shelf()).answer(question)
    (passage,) = looked.evidence
    text = reference_text([passage.text]) + question
    guard = Guard(model=local, calibrator=fit.calibrator, policy="retrieve_first")
    judging = guard.judge(text)
    messages = next(judging)
    assert messages == looked.attempts[-1].trace.messages
    for asked in (text, messages):
        given = guard.answer(asked)
        assert (given.confidence.basis, given.confidence.reason) == (looked.confidence.basis, looked.confidence.reason)
        assert given.confidence.p_correct == pytest.approx(looked.confidence.p_correct, abs=1e-3)
        assert [each.text for each in given.evidence] == [passage.text]
        assert given.attempts[-1].evidence[0].source == "the prompt"


def test_evaluate_measures_it(fit, local, data):
    found = guardrail.evaluate(local, data[1], fit.calibrator, retriever=Shelf(), cache=False)
    told = found.evidence
    assert told.own.accuracy.n == told.other.accuracy.n == told.without.accuracy.n == told.questions <= 40
    assert told.rise.value == pytest.approx(told.other.mean_p - told.without.mean_p)
    assert found.to_dict()["evidence"]["rise"]["value"] == told.rise.value
    plain = IsotonicCalibrator.from_dict(
        {k: v for k, v in fit.calibrator.to_dict().items() if k not in ("contexts", "digest")}
    )
    with pytest.raises(CalibrationError, match=r"fitted without passages; .*--retriever DIR"):
        guardrail.evaluate(local, data[1], plain, retriever=Shelf(), cache=False)


def test_the_commands(cli, local, roomy, tmp_path):
    passages = [
        {"id": str(i), "title": "", "text": f"What is number {i}? It is the one before {i + 1}."} for i in range(99)
    ]
    (tmp_path / "notes.jsonl").write_text("".join(json.dumps(passage) + "\n" for passage in passages))
    retriever = load_retriever(tmp_path / "notes.jsonl", 1)
    questions(local, range(60), tmp_path / "q.jsonl", retriever)
    questions(local, range(60, 99), tmp_path / "h.jsonl", retriever)
    made = cli("calibrate", "q.jsonl", "-o", "c.json", "-m", roomy, "--grader", "exact", "--max-new-tokens", LENGTH,
               "--retriever", "notes.jsonl", "--ask-again", 60)  # fmt: skip
    assert made.returncode == 0, made.stderr
    assert "found for another" in made.stdout
    source = json.loads((tmp_path / "c.json").read_text())["contexts"]["evidence"]["source"]
    assert source == {"retriever": "notes.jsonl", "passages": 1, "questions": 60}
    seen = cli("evaluate", "h.jsonl", "-c", "c.json", "-m", roomy, "--retriever", "notes.jsonl", "--json")
    assert seen.returncode == 0, seen.stderr
    assert json.loads(seen.stdout)["evidence"]["questions"] > 5
    shown = cli("evaluate", "h.jsonl", "-c", "c.json", "-m", roomy, "--retriever", "notes.jsonl")
    assert "Another question's passages raise the mean confidence by" in shown.stdout


def test_claims_have_no_such_curve(local, data):
    for command in (guardrail.calibrate, guardrail.evaluate):
        with pytest.raises(DataError, match="--retriever is for whole answers"):
            command(local, data[0], unit="claim", retriever=Shelf())


@pytest.mark.parametrize("option", ["passages", "ask_again"])
def test_less_than_one_is_refused(local, data, option):
    with pytest.raises(DataError, match=f"{option}: a limit must be at least 1, not 0"):
        guardrail.calibrate(local, data[0], retriever=Shelf(), **{option: 0})


def test_the_rise_by_hand():
    records = [
        {"question": q, "whose": whose, "entropies": [1.0], "unscored": None}
        for q in ("a", "b", "c")
        for whose in ("own", "other")
    ]
    answers = Answers(tuple(records), np.array([True, False] * 3), np.arange(6), signals=None)
    without = Judged({"a": 0.2, "b": 0.4}, {"a": True, "b": False})
    found = assess_with_evidence(answers, np.array([0.9, 0.3, 0.8, 0.6, 0.5, 0.5]), without)
    assert found.questions == 2, "c has no score without passages"
    assert found.rise.value == pytest.approx(0.15)
    assert (found.own.mean_p, found.other.mean_p, found.without.mean_p) == pytest.approx((0.85, 0.45, 0.3))
    assert found.metrics["auroc"].value == pytest.approx(7.5 / 9)
