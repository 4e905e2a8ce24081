"""Numbers in a policy are those of YAML 1.2; what YAML 1.1 reads as another number is refused, never read."""

from __future__ import annotations

import pytest

from guardrail.errors import PolicyError
from guardrail.policy import Policy
from guardrail.policy.tuned import policy_text
from guardrail.types import Confidence
from tests.helpers.policy_answers import SCORED, sure
from tests.policy.test_policy_proof import proof

POLICY = "version: 1\nname: p\nrules:\n  - {name: a, when: {%s}, then: answer}\n"


def length(text: str) -> object:
    return Policy.from_text(POLICY % f"length: {{at_most: {text}}}", "p.yaml").rules[0].when.length.at_most


def confidence(text: str) -> object:
    return Policy.from_text(POLICY % f"confidence: {{at_least: {text}}}", "p.yaml").rules[0].when.confidence.at_least


@pytest.mark.parametrize(("text", "value"), [("100", 100), ("+7", 7), ("0x10", 16), ("0o17", 15), ("0", 0)])
def test_whole_numbers(text, value):
    assert length(text) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [("5e-1", 0.5), ("5E-1", 0.5), (".5", 0.5), ("0.5", 0.5), ("+0.5", 0.5), ("1.", 1.0), ("50e-02", 0.5), ("0", 0.0)],
)
def test_numbers_with_a_fraction(text, value):
    assert confidence(text) == value


@pytest.mark.parametrize("text", ["1:30", "0100", "010", "007", "08", "-01", "1_000", "0b11", "0x1_0", "1:30:00"])
def test_what_is_another_number_elsewhere_is_refused(text):
    with pytest.raises(
        PolicyError, match=rf"^p.yaml:4: rules\[0\].when.length.at_most is {text}, which is one number in"
    ):
        length(text)
    named = Policy.from_text(f"version: 1\nname: '{text}'\nrules: []\n", "p.yaml")
    assert named.name == text, "in quotes it is text"


NOT_NUMBERS = ("1:30.5", "1_0.5", "0.5_0", "1e999", "-1e999", ".inf", "-.INF", ".nan", "1/2", "½", "٥", "~", "50%")


@pytest.mark.parametrize("text", NOT_NUMBERS)
def test_what_is_no_number_is_refused(text):
    with pytest.raises(PolicyError, match=r"^p.yaml:4: rules\[0\].when.confidence.at_least"):
        confidence(text)


def test_text_that_looks_like_a_date_or_a_time_stays_text():
    policy = Policy.from_text("version: 1\nname: 2026-01-31\ndescription: at 12:30h\nrules: []\n", "p.yaml")
    assert (policy.name, policy.description) == ("2026-01-31", "at 12:30h")


def test_a_surer_answer_that_is_hedged_beyond_the_range_is_told_why():
    default = Policy.load("default")
    assert default.decide(sure(0.9), SCORED).action == "answer"
    decided = default.decide(sure(0.9, in_range=False), SCORED)
    assert (decided.action, decided.rule) == ("hedge", "unsure")
    assert "rule 'confident' was passed over: the score lies outside the calibrated range" in decided.explanation
    closed = Policy.from_text(POLICY % "in_range: true", "p.yaml").decide(sure(0.9, in_range=False), SCORED)
    assert "rule 'a' was passed over: the score lies outside the calibrated range" in closed.explanation


def test_a_rule_that_fails_for_another_reason_is_not_blamed_on_the_range():
    policy = Policy.from_text(POLICY % "in_range: true, confidence: {at_least: 0.95}", "p.yaml")
    assert "passed over" not in policy.decide(sure(0.9, in_range=False), SCORED).explanation
    assert "passed over" not in policy.decide(Confidence.none("why not"), SCORED).explanation


def test_a_claim_beyond_the_range_is_told_why():
    text = "version: 1\nname: p\nrules:\n  - {name: c, for: claim, when: {in_range: true}, then: keep}\n"
    policy = Policy.from_text(text, "p.yaml")
    decided = policy.decide_claim(sure(0.9, in_range=False), SCORED)
    assert decided.action == "drop"
    assert "rule 'c' was passed over: the score lies outside the calibrated range" in decided.explanation


@pytest.mark.parametrize("key", ["n", "errors"])
def test_a_proof_of_endless_counts_is_refused_at_once(key):
    text = policy_text(proof())
    old = {"n": "n: 120", "errors": "errors: 4"}[key]
    assert text.count(old) == 1
    with pytest.raises(PolicyError, match=f"proof.answered.{key} is 99999999999; it must be at most 1e\\+06"):
        Policy.from_text(text.replace(old, f"{key}: 99999999999"), "p.yaml")
