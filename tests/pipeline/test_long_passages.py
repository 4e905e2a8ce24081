"""Passages that a model has no room for are cut, or the answer without them decides; a hedge does not become silence."""

from __future__ import annotations

from threading import Event

import pytest

from guardrail import Guard, Policy
from guardrail.retrieval.budget import CUT
from guardrail.scoring.hybridgrad import HybridGradScorer
from guardrail.testing import tiny_local_model
from tests.helpers.langchain_doubles import SURE, UNSURE, Fixed, Passages, calibrator

RULES = """
version: 1
name: look
rules:
  - {name: look, when: {confidence: {below: 0.5}}, then: retrieve}
  - {name: unsure, when: {confidence: {below: 0.5}}, then: hedge}
  - {name: nothing, when: {unscored: true}, then: abstain}
  - {name: rest, then: answer}
"""
FOUND = """
version: 1
name: found
rules:
  - {name: look, when: {unscored: false}, then: retrieve}
  - {name: said, when: {unscored: false}, then: hedge}
  - {name: rest, then: abstain}
"""
LONG = "Lyon is a city in France, and much more may be said of it. " * 200


def guard_with(passages, *, local=None, evidence=SURE):
    local = local or tiny_local_model(vocab_size=261)
    retriever = Passages(found=passages)
    scorer = Fixed(UNSURE, evidence=evidence)
    return Guard(model=local, scorer=scorer, calibrator=calibrator(local), policy=Policy.from_text(RULES, "look.yaml"),
                 retriever=retriever)  # fmt: skip


def judged(guard, question, text="Lyon"):
    judging = guard.judge(question)
    prompt = next(judging)
    try:
        while True:
            prompt = judging.send(text)
    except StopIteration as end:
        return prompt, end.value


@pytest.mark.parametrize("ask", ["answer", "answer_batch", "judge"])
def test_long_passages_are_cut_and_said_to_be(ask):
    guard = guard_with([LONG, "A short passage."])
    if ask == "judge":
        prompt, verdict = judged(guard, "Who?")
        assert 200 < len(guard.model.encode_prompt(prompt)) < guard.model.anatomy.context
    else:
        verdict = guard.answer("Who?") if ask == "answer" else guard.answer_batch(["Who?"])[0]
    assert verdict.actions == ("retrieve", "answer")
    first, *rest = verdict.evidence
    assert first.text.endswith(CUT)
    assert LONG.startswith(first.text.removesuffix(CUT) + " ")
    assert [passage.text for passage in rest] == (["A short passage."] if rest else [])
    assert "cut to fit the model's context" in verdict.confidence.reason


def test_a_question_that_fills_the_context_is_decided_without_passages():
    guard = guard_with([LONG])
    verdict = guard.answer("Who? " * 41, max_new_tokens=4)
    assert verdict.score.unscored is None
    assert verdict.actions == ("retrieve", "hedge")
    assert verdict.evidence == ()
    assert "no room for passages" in verdict.explanation
    assert verdict.original in verdict.text


def test_a_given_answer_that_is_too_long_with_passages_is_decided_without_them():
    local = tiny_local_model(vocab_size=261)
    policy = Policy.from_text(FOUND, "found.yaml")
    guard = Guard(model=local, scorer=HybridGradScorer(local), retriever=Passages(found=["A passage."]), policy=policy)
    text = "Lyon is a city in France. " * 5
    verdict = judged(guard, "Who?", text)[1]
    assert verdict.actions == ("retrieve", "hedge")
    assert verdict.score.unscored is None
    assert "no room for the passages (prompt_too_long)" in verdict.explanation


@pytest.mark.parametrize("questions", [["Who?"], ["Who?", "Why?"]])
def test_passages_that_do_not_fit_into_memory(questions):
    local, begun = tiny_local_model(vocab_size=261), Event()

    def limited(_, args):
        if begun.is_set() and args[0].shape[1] > 90:
            raise MemoryError

    handle = local.model.get_input_embeddings().register_forward_pre_hook(limited)
    guard = guard_with(["A passage of some length."], local=local)  # a hook that comes later is a change of the model
    begun.set()
    verdicts = guard.answer_batch(questions, max_new_tokens=4)
    handle.remove()
    for verdict in verdicts:
        assert verdict.actions == ("retrieve", "hedge")
        assert verdict.confidence.p_correct is not None
        assert "no room for the passages" in verdict.explanation


def test_documents_that_fit_are_as_they_were():
    guard = guard_with(["A short passage."])
    assert guard.answer("Who?", max_new_tokens=4).evidence[0].text == "A short passage."
