"""A question is measured once, before the answer, and only where a policy asks; what fails is never clear."""

from __future__ import annotations

import pytest

from guardrail import Guard, PolicyError
from guardrail.actions import DEFAULT_ASK_BACK
from guardrail.errors import PartError
from guardrail.policy import Policy
from guardrail.scoring.baselines.perturbed import REWORD, asked_as
from guardrail.testing import tiny_local_model

QUESTION = "What is {it}?"


@pytest.fixture(scope="module")
def local():
    return tiny_local_model(max_position_embeddings=1024)


def guard(local, above, more="", scorer="ln-pe", then="answer"):
    text = (
        f"version: 1\nname: mine\n{more}ambiguity: {{above: {above}, scorer: {scorer}, samples: 2}}\nrules:\n"
        f"  - {{name: unclear, when: {{ambiguous: true}}, then: ask_back}}\n  - {{name: rest, then: {then}}}\n"
    )
    return Guard(model=local, policy=Policy.from_text(text, "mine.yaml"))


def test_above_its_bound_a_question_is_asked_back_and_below_answered(local):
    asked = guard(local, -1e9).answer(QUESTION, max_new_tokens=6)
    assert (asked.action, asked.text) == ("ask_back", DEFAULT_ASK_BACK)
    assert "ambiguous (ln-pe" in asked.explanation
    assert asked.answer
    assert asked.answer not in asked.text
    answered = guard(local, 1e9).answer(QUESTION, max_new_tokens=6)
    assert (answered.action, answered.text) == ("answer", answered.answer)
    assert answered.timing_ms["ambiguity"] > 0
    several = guard(local, 1e9).answer_batch([QUESTION, "Who?"], max_new_tokens=6)
    assert [v.action for v in several] == ["answer", "answer"]


def test_the_question_of_a_text_from_elsewhere_is_measured_too(local):
    assert guard(local, 1e9).check(QUESTION, "A river.").action == "answer"
    assert guard(local, -1e9).check(QUESTION, "A river.").text == DEFAULT_ASK_BACK


def test_nothing_is_measured_where_no_rule_asks(local):
    text = "version: 1\nname: mine\nrules:\n  - {name: rest, then: answer}\n"
    plain = Guard(model=local, policy=Policy.from_text(text, "mine.yaml"))
    assert plain.ambiguity is None
    assert "ambiguity" not in plain.answer(QUESTION, max_new_tokens=4).timing_ms


def test_the_number_is_that_of_the_conversation_without_the_answer(local, monkeypatch):
    made = guard(local, 0.0, scorer="semantic-volume")
    seen = []
    encode = type(local).encode_prompt
    monkeypatch.setattr(
        type(local), "encode_prompt", lambda self, m, tools=(): seen.append(list(m)) or encode(self, m, tools)
    )
    before = [{"role": "user", "content": "Who was Goethe?"}, {"role": "assistant", "content": "A poet."}]
    asked = [*before, {"role": "user", "content": "When did he die?"}]
    (score,) = made.ambiguity.scores([asked])
    assert asked_as(tuple(asked), REWORD.replace("{question}", "When did he die?")) in seen, "with what stood before"
    assert score.name == "semantic-volume"
    verdict = made.answer(asked, max_new_tokens=4)
    assert f"{score.value:.2f}" in verdict.explanation if score.value > 0 else verdict.action == "answer"
    assert made.ambiguity.scores([asked])[0] == score, "the same each time"


@pytest.mark.parametrize(("on_error", "action"), [("abstain", "abstain"), ("continue", "ask_back")])
def test_what_cannot_be_measured_is_never_clear(local, on_error, action, monkeypatch):
    made = guard(local, 1e9, f"on_error: {on_error}\n")
    assert made.answer(QUESTION, max_new_tokens=4).action == "answer"

    def fails(traces):
        raise OSError("no such file")

    monkeypatch.setattr(made.ambiguity.scorer, "score_questions", fails)
    verdict = made.answer(QUESTION, max_new_tokens=4)
    assert verdict.action == action
    assert verdict.answer not in verdict.text


def test_a_failure_is_raised_where_the_policy_says_so(local, monkeypatch):
    made = guard(local, 1e9, "on_error: raise\n")
    monkeypatch.setattr(made.ambiguity.scorer, "score_questions", lambda traces: [None])
    with pytest.raises(PartError, match="NoneType, not a Score"):
        made.answer(QUESTION, max_new_tokens=4)


def test_a_scorer_that_reads_the_answer_is_refused(local):
    with pytest.raises(PolicyError, match=r"ambiguity.scorer 'g-nll' reads an answer; those of a question: ln-pe, deg"):
        guard(local, 0.0, scorer="g-nll")
