"""An answer judged with its passages in several orders: mean and spread in the verdict, and spread as a condition."""

import json
from itertools import permutations
from math import factorial

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.documents import Document

from guardrail import Guard, Policy
from guardrail.errors import PolicyError
from guardrail.pipeline.orders import orders_of
from guardrail.policy.facts import AnswerFacts
from guardrail.testing import tiny_local_model
from guardrail.types import Confidence, InOrders, Score
from tests.pipeline.test_guard import SURE, UNSURE, Passages, calibrator

RULES = """
version: 1
name: ordered
retrieval: {{passages: 3, orders: {orders}}}
rules:
  - {{name: look, when: {{evidence: absent}}, then: retrieve}}
  - {{name: moved, when: {{spread: {{at_least: 0.5}}}}, then: abstain, because: the order decides}}
  - {{name: steady, when: {{spread: {{below: 0.5}}}}, then: answer}}
  - {{name: unknown, then: hedge}}
"""


class ByFirst:
    """Scores by the passage that stands first in the prompt; everything else is real."""

    name, keep = "fixed", None
    options: dict = {}

    def __init__(self, sure_of):
        self.sure_of, self.prompts = sure_of, []

    def score_traces(self, traces):
        self.prompts += [trace.prompt_ids for trace in traces]
        values = [SURE if t.evidence and t.evidence[0].text in self.sure_of else UNSURE for t in traces]
        return [Score(v, v, v, 1.0, 2.0, len(t.response_ids), name=self.name, number=v) for t, v in zip(traces, values)]  # noqa: B905


@pytest.fixture(scope="module")
def local():
    model = tiny_local_model(vocab_size=261, max_position_embeddings=1024)
    model.eos_ids = list(range(261))
    return model


def asked(local, sure_of, passages, orders=6):
    scorer = ByFirst(sure_of)
    retriever = Passages(found=[Document(page_content=p) for p in passages], queries=[])
    policy = Policy.from_text(RULES.format(orders=orders), "p.yaml")
    made = Guard(model=local, scorer=scorer, calibrator=calibrator(local), policy=policy, retriever=retriever)
    return made.answer("Where?"), scorer


def test_by_hand_two_of_six_orders_are_sure(local):
    verdict, scorer = asked(local, {"alpha"}, ["alpha", "beta", "gamma"])
    (high,) = {p for p in verdict.attempts[-1].orders.confidences if p > 0.5}
    (low,) = {p for p in verdict.attempts[-1].orders.confidences if p < 0.5}
    orders = verdict.attempts[-1].orders
    assert sorted(orders.confidences) == [low] * 4 + [high] * 2
    assert orders.mean == pytest.approx((2 * high + 4 * low) / 6)
    assert orders.spread == pytest.approx(high - low)
    assert verdict.confidence.p_correct == orders.confidences[0] == high  # of the order that the prompt had
    assert len({tuple(prompt) for prompt in scorer.prompts}) == 7  # one without passages, six orders
    assert (verdict.rule, verdict.action) == ("moved", "abstain")
    assert (
        f"the order of the passages moves the confidence by {high - low:.2f}, which is at least 0.50"
        in verdict.explanation
    )
    told = json.loads(json.dumps(verdict.to_dict()))
    assert told["orders"]["spread"] == pytest.approx(high - low)
    assert "orders" not in told["attempts"][0]


def test_an_answer_that_no_order_moves(local):
    verdict, _ = asked(local, {"alpha", "beta"}, ["alpha", "beta"], orders=8)
    assert verdict.attempts[-1].orders.spread == 0
    assert len(verdict.attempts[-1].orders.confidences) == 2
    assert verdict.rule == "steady"


@pytest.mark.parametrize(("passages", "orders"), [(["alpha"], 4), (["alpha", "beta"], 1)])
def test_nothing_is_scored_again_where_nobody_asks_or_one_passage_is_found(local, passages, orders):
    verdict, scorer = asked(local, {"alpha"}, passages, orders)
    assert verdict.attempts[-1].orders is None
    assert len(scorer.prompts) == 2
    assert verdict.rule == "unknown"  # a spread that nobody measured is neither high nor low


def test_a_confidence_that_is_missing_makes_the_spread_unknown():
    assert InOrders((0.5, None)).spread is None
    assert InOrders((0.5, float("nan"))).mean is None
    assert InOrders((0.25, 0.75)).to_dict() == {"confidences": [0.25, 0.75], "mean": 0.5, "spread": 0.5}
    score = Score(1, 1, 1, 1.0, 2.0, 1)
    rules = Policy.from_text(RULES.format(orders=2), "p.yaml").answer_rules[1:3]
    for spread in (None, float("nan")):
        facts = AnswerFacts(Confidence(0.5, 0.4, 0.6, "medium"), score, 2, "stop", spread=spread)
        assert [next(iter(facts.evaluate_own(rule.when))).truth for rule in rules] == [None, None]


@given(st.integers(0, 9), st.integers(1, 8), st.text(max_size=4))
def test_orders_are_different_permutations_and_always_the_same(n, most, seed):
    orders = orders_of(n, most, seed)
    assert orders == orders_of(n, most, seed)
    assert len(set(orders)) == len(orders) == min(most, factorial(n))
    assert all(sorted(order) == list(range(n)) for order in orders)
    assert orders[0] == tuple(range(n))
    if n == 3 and most >= 6:
        assert set(orders) == set(permutations(range(3)))


def test_the_policy_file():
    warned = Policy.from_text(RULES.format(orders=1), "p.yaml").warnings
    assert any("asks for spread, which needs 2 or more orders" in warning for warning in warned)
    assert Policy.from_text(RULES.format(orders=2), "p.yaml").needs_confidence
    with pytest.raises(PolicyError, match="orders is 9; it must be at most 8"):
        Policy.from_text(RULES.format(orders=9), "p.yaml")
