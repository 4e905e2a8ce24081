"""What `replay` makes of rules that look at more than a log holds, and of a second model that failed."""

from __future__ import annotations

import pytest
from langchain_core.documents import Document

from guardrail import Guard, Policy, VerdictLog
from guardrail.monitoring.replay import replay
from guardrail.retrieval.corpus import Corpus
from guardrail.retrieval.passages import Passage
from guardrail.testing import tiny_local_model
from tests.pipeline.test_guard import SURE, UNSURE, Fixed, Passages, calibrator

POLICY = """
version: 1
name: counting
rules:
  - {name: apart, when: {never_together: true}, then: abstain}
  - {name: rest, then: answer}
"""


@pytest.fixture(scope="module")
def local():
    model = tiny_local_model(vocab_size=261, max_position_embeddings=1024)
    model.eos_ids = list(range(261))
    return model


class Counting(Passages):
    corpus: object = None


def test_a_rule_about_names_is_not_decided_again(local, tmp_path):
    rules = Policy.from_text(POLICY, "counting.yaml")
    corpus = Corpus.build(Passage(text, "") for text in ("Lima", "Quito"))
    guard = Guard(
        model=local,
        scorer=Fixed(SURE),
        calibrator=calibrator(local),
        policy=rules,
        retriever=Counting(corpus=corpus),
        observers=[VerdictLog(tmp_path / "log.jsonl")],
    )
    assert guard.answer("Is Lima near Quito?", max_new_tokens=4).rule == "apart"
    found = replay(tmp_path / "log.jsonl", policy=rules)
    assert found.differences == ()
    assert found.not_decided == {"how rare the names of its question are is not in the log": 1}


def test_an_answer_that_stands_since_the_second_model_failed(local, tmp_path, monkeypatch):
    """The rule that has retrieved for the first model is passed over, as it was."""
    text = (
        "version: 1\nname: routed\non_error: continue\nrules:\n"
        "  - {name: look, when: {confidence: {below: 0.5}}, then: retrieve}\n"
        "  - {name: ask, when: {confidence: {below: 0.5}}, then: escalate}\n  - {name: rest, then: hedge}\n"
    )
    parts = {"model": local, "policy": Policy.from_text(text, "routed.yaml"), "calibrator": calibrator(local)}
    second = Guard(scorer=Fixed(), **parts)
    monkeypatch.setattr(second, "_finished", lambda batch: 1 / 0)
    log, found = VerdictLog(tmp_path / "log.jsonl"), Passages(found=[Document(page_content="Lima")])
    first = Guard(scorer=Fixed(UNSURE, UNSURE), retriever=found, escalate_to=second, observers=[log], **parts)
    assert first.answer("Where?").actions == ("retrieve", "escalate", "hedge")
    assert replay(tmp_path / "log.jsonl", policy=parts["policy"]).differences == ()
