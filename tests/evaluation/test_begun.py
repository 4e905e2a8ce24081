"""Answers whose beginning was given have a curve of their own, and a guard that retries uses it."""

from __future__ import annotations

import json

import pytest

import guardrail
from guardrail import Guard, IsotonicCalibrator, Policy
from guardrail.errors import DataError
from guardrail.runs.asking import Asking
from guardrail.runs.prompts import DIRECT
from guardrail.testing import tiny_model, tiny_tokenizer

LENGTH, PREFIX = 6, "It is"
ASKING = Asking(DIRECT, None, LENGTH)
RULES = """version: 1
name: retrying
rules:
  - {name: again, then: retry, retry: {prefix: "PREFIX"}}
  - {name: show, then: answer}
"""


@pytest.fixture(scope="module")
def local(tmp_path_factory):
    folder = tmp_path_factory.mktemp("roomy-model")
    tiny_model(vocab_size=261, max_position_embeddings=512).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return guardrail.load_model(str(folder), device="cpu")


@pytest.fixture(scope="module")
def data(local, tmp_path_factory):
    """The tiny model's own answers, free and begun, are the accepted ones to every other question."""
    asked = [f"What is number {i}?" for i in range(60)]
    messages = [ASKING.messages(question) for question in asked]
    free = local.generate_batch(messages, max_new_tokens=LENGTH)
    begun = local.generate_batch(messages, max_new_tokens=LENGTH, prefixes=[PREFIX] * len(asked))
    path = tmp_path_factory.mktemp("data") / "q.jsonl"
    with path.open("w", encoding="utf-8") as file:
        for i, (question, *traces) in enumerate(zip(asked, free, begun, strict=True)):
            said = [t.text for t in traces if any(c.isalnum() for c in t.text)] if i % 2 else []
            file.write(json.dumps({"question": question, "answers": said or ["no such thing"]}) + "\n")
    return path


def made(local, data, out, **options):
    given = {"grader": "exact", "max_new_tokens": LENGTH, "scorer": "hybridgrad", "cache": False} | options
    return guardrail.calibrate(local, data, out, retry_prefix=PREFIX, **given)


def test_a_curve_is_fitted_and_used_where_the_prefix_is_the_same(local, data, tmp_path):
    fit = made(local, data, tmp_path / "c.json")
    own = IsotonicCalibrator.load(tmp_path / "c.json").contexts["prefix"]
    assert (own.scorer, own.source) == ("hybridgrad", {"prefix": PREFIX})
    assert own.n == 60
    assert 0 <= own.metrics["ece"].value <= 1
    for prefix, reason in ((PREFIX, ""), ("Well,", "begun with words that were given")):
        policy = Policy.from_text(RULES.replace("PREFIX", prefix), "retrying.yaml")
        guard = Guard(model=local, calibrator=fit.calibrator, policy=policy)
        first, last = guard.answer("What is number 7?").attempts
        assert last.answer.startswith(prefix)
        assert reason in last.confidence.reason
        assert ("begun" in last.confidence.reason) == bool(reason)
        if not reason:
            familiar = last.confidence.familiarity
            expected = fit.calibrator.predict(last.score, familiar, "prefix")
            assert last.confidence.p_correct == expected.p_correct
            assert last.confidence.basis == first.confidence.basis


@pytest.mark.parametrize("options", [{"unit": "claim", "grader": None}, {"retry_prefix": " "}])
def test_what_has_no_such_curve_is_refused(local, data, options):
    with pytest.raises(DataError, match="--retry-prefix"):
        guardrail.calibrate(local, data, **{"retry_prefix": PREFIX} | options)
