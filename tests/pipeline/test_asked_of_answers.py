"""What a policy asks of an answer (names, orders, its wording) holds in each pass, and what fails is never an answer."""

from __future__ import annotations

import pytest
from langchain_core.documents import Document

from guardrail import Guard, Policy
from guardrail.actions import DEFAULT_ASK_BACK
from guardrail.errors import PartError
from guardrail.model.local import LocalModel
from guardrail.retrieval.corpus import Corpus
from guardrail.retrieval.passages import Passage
from guardrail.testing import tiny_local_model, tiny_model, tiny_tokenizer
from guardrail.types import Score
from tests.helpers.speaking_model import say, spelt, tool_model
from tests.pipeline.test_guard import SURE, Fixed, Passages, calibrator

HEAD = "version: 1\nname: mine\non_error: {}\nretrieval: {{passages: 2, orders: {}}}\nrules:\n"
LOOK = "  - {name: look, when: {evidence: absent}, then: retrieve}\n"


@pytest.fixture(scope="module")
def local():
    model = tiny_local_model(vocab_size=261, max_position_embeddings=1024)
    model.eos_ids = list(range(261))
    return model


class Counting(Passages):
    corpus: object = None


def test_names_that_were_counted_are_known_without_the_retriever(local):
    """The prompt with passages does not fit: the rules decide on the answer without them."""
    rules = LOOK + "  - {name: apart, when: {never_together: true}, then: abstain}\n  - {name: rest, then: answer}\n"
    corpus = Corpus.build(Passage(text, "") for text in ("Lima", "Quito"))
    made = Guard(
        model=local,
        scorer=Fixed(SURE, Score.none("out_of_memory", length=1)),
        calibrator=calibrator(local),
        policy=Policy.from_text(HEAD.format("abstain", 1) + rules, "p.yaml"),
        retriever=Counting(found=[Document(page_content="Lima")], queries=[], corpus=corpus),
    )
    verdict = made.answer("Is Lima near Quito?")
    assert (verdict.actions, verdict.rule) == (("retrieve", "abstain"), "apart")
    assert "there is no room for the passages" in verdict.explanation


class FailsInOtherOrders(Fixed):
    """Scores what the prompt of generation held, and no other order."""

    def score_traces(self, traces):
        if any(t.evidence and t.evidence[0].text == "beta" for t in traces):
            raise OSError("no such file")
        return [Score.of("fixed", SURE, length=1) for _ in traces]


@pytest.mark.parametrize(
    ("on_error", "action", "rule"),
    [("abstain", "abstain", "on error"), ("continue", "answer", "rest"), ("raise", "", "")],
)
def test_a_scorer_that_fails_in_another_order_is_a_failure(local, on_error, action, rule):
    rules = LOOK + "  - {name: moved, when: {spread: {at_least: 0.5}}, then: abstain}\n  - {name: rest, then: answer}\n"
    found = [Document(page_content=text) for text in ("alpha", "beta")]
    made = Guard(
        model=local,
        scorer=FailsInOtherOrders(),
        calibrator=calibrator(local),
        policy=Policy.from_text(HEAD.format(on_error, 2) + rules, "p.yaml"),
        retriever=Passages(found=found, queries=[]),
    )
    if not action:
        with pytest.raises(PartError, match="the scorer fixed failed"):
            made.answer("Where?")
        return
    verdict = made.answer("Where?")
    assert (verdict.actions, verdict.rule) == (("retrieve", action), rule)


def test_other_orders_stand_in_a_prompt_with_the_tools():
    model, prompts = tool_model(), []

    class Seen(Fixed):
        def score_traces(self, traces):
            prompts.extend(model.tokenizer.decode(t.prompt_ids) for t in traces)
            return [Score.of("fixed", SURE, length=1) for _ in traces]

    say(model, spelt(model, "here"))
    found = [Document(page_content=text) for text in ("alpha", "beta")]
    made = Guard(
        model=model,
        scorer=Seen(),
        calibrator=calibrator(model),
        policy=Policy.from_text(HEAD.format("abstain", 2) + LOOK + "  - {name: rest, then: answer}\n", "p.yaml"),
        retriever=Passages(found=found, queries=[]),
    )
    tool = {"type": "function", "function": {"name": "weather", "description": "", "parameters": {}}}
    (verdict,) = made.answer_batch(["Where?"], tools=[tool], max_new_tokens=8)
    assert len(verdict.attempts[-1].orders.confidences) == 2
    assert ["weather" in prompt for prompt in prompts] == [True] * 3
    assert prompts[1].index("alpha") < prompts[1].index("beta")
    assert prompts[2].index("beta") < prompts[2].index("alpha")


def test_a_model_that_says_the_words_of_a_question_back_is_asked_back():
    model = LocalModel(tiny_model(vocab_size=261, max_position_embeddings=1024), tiny_tokenizer(), name="echo")
    say(model, spelt(model, DEFAULT_ASK_BACK))
    rules = Policy.from_text(HEAD.format("abstain", 1) + "  - {name: unclear, then: ask_back}\n", "p.yaml")
    verdict = Guard(model=model, scorer=Fixed(SURE), calibrator=calibrator(model), policy=rules).answer(
        "What?", max_new_tokens=200
    )
    assert (verdict.action, verdict.text, verdict.answer) == ("ask_back", DEFAULT_ASK_BACK, DEFAULT_ASK_BACK)
