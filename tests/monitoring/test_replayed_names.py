"""Counts of names are not in a log: `replay` says so, and takes no rule about them for one that did not match."""

from __future__ import annotations

from guardrail import Guard, Policy, VerdictLog
from guardrail.monitoring.replay import replay
from guardrail.retrieval.corpus import Corpus
from guardrail.retrieval.passages import Passage
from guardrail.testing import tiny_local_model
from tests.pipeline.test_guard import SURE, Fixed, Passages, calibrator

POLICY = """
version: 1
name: counting
rules:
  - {name: apart, when: {never_together: true}, then: abstain}
  - {name: rest, then: answer}
"""


class Counting(Passages):
    corpus: object = None


def test_a_rule_about_names_is_not_decided_again(tmp_path):
    local, rules = tiny_local_model(vocab_size=261), Policy.from_text(POLICY, "counting.yaml")
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
