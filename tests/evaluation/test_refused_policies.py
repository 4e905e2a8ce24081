"""A policy that decides by what a run does not hold is refused: its figures would be those of other rules."""

import pytest

from guardrail.errors import DataError
from guardrail.evaluation.setting import refuse_claims
from guardrail.policy import Policy

REST = "  - {name: rest, then: answer}\n"


def policy(when, head=""):
    rule = f"  - {{name: first, when: {{{when}}}, then: abstain}}\n"
    return Policy.from_text(f"version: 1\nname: mine\n{head}rules:\n{rule}{REST}", "mine.yaml")


@pytest.mark.parametrize(
    ("when", "head", "says"),
    [
        ("ambiguous: true", "ambiguity: {above: 0}\n", "whether questions are ambiguous"),
        ("rare: {below: 3}", "", "how rare names are"),
        ("not: {never_together: false}", "", "how rare names are"),
        ("consistency: {below: 0.5}", "", "how many samples agree"),
        ("claims: {count: {at_least: 2}}", "", "judges claims"),
    ],
)
def test_what_no_run_holds_is_refused(when, head, says):
    with pytest.raises(DataError, match=says):
        refuse_claims([policy(when, head)], "use --unit claim")


def test_a_spread_is_refused_where_there_are_passages():
    moved = policy("any: [{spread: {at_least: 0.2}}]", "retrieval: {orders: 2}\n")
    refuse_claims([moved, Policy.load("default")], "")
    with pytest.raises(DataError, match="spread over orders of the passages, which no run holds"):
        refuse_claims([moved], "", passages=True)
