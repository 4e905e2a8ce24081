"""The first match decides, retrieval ends, no match abstains, and the explanation says why with the numbers."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardrail.policy import Policy
from guardrail.types import ACTIONS, Confidence, Score
from tests.helpers.policy_answers import (
    PASSAGE,
    SCORED,
    UNKNOWN,
    UNSCORED,
    confidences,
    policy,
    scores,
    situations,
    sure,
)

SURE = "{name: sure, when: {confidence: {at_least: 0.8}}, then: answer}"
LOOK = "{name: look, when: {evidence: absent}, then: retrieve}"


def test_the_empty_policy_abstains_and_says_so() -> None:
    decision = Policy.from_text("version: 1\nname: closed\nrules: []\n", "closed.yaml").decide(sure(0.83), SCORED)
    assert (decision.action, decision.rule, decision.template) == ("abstain", "no rule matched", None)
    expected = "no rule matched: confidence 0.83 (very high), 4 tokens, finish reason stop, no evidence"
    assert decision.explanation == expected


def test_the_explanation_has_the_numbers() -> None:
    decision = policy(f"[{SURE}]").decide(sure(0.83), SCORED)
    assert decision.explanation == "confidence 0.83 (very high) is at least 0.80: rule 'sure'"


@pytest.mark.parametrize(
    ("when", "phrase"),
    [
        ("{confidence: {at_least: 0.2, below: 0.625}}", "confidence 0.50 (medium) is at least 0.20 and below 0.625"),
        ("{not: {confidence: {at_least: 0.8}}}", "confidence 0.50 (medium) is not at least 0.80"),
        ("{label: [medium, high]}", "confidence 0.50 is labelled medium"),
        ("{any: [{label: low}, {length: {at_most: 9}}]}", "length 4 tokens is at most 9"),
        ("{evidence: absent, finish_reason: stop}", "there is no evidence and the finish reason is stop"),
        (
            "{not: {any: [{label: low}, {evidence: present}]}}",
            "confidence 0.50 is labelled medium and there is no evidence",
        ),
        ("{unscored: false, in_range: true}", "the score lies within the calibrated range and the answer has a score"),
    ],
)
def test_explanations_state_what_was_found(when: str, phrase: str) -> None:
    decision = policy(f"[{{name: a, when: {when}, then: answer}}]").decide(sure(0.5), SCORED)
    assert decision.explanation == f"{phrase}: rule 'a'"


def test_explanations_of_reasons_evidence_and_unscored_answers() -> None:
    one = policy("[{name: a, when: {evidence: present}, then: hedge, because: A passage was found.}]")
    expected = "there is 1 passage of evidence: rule 'a' (A passage was found)"
    assert one.decide(sure(0.5), SCORED, evidence=(PASSAGE,)).explanation == expected
    broken = policy("[{name: u, when: {unscored: true}, then: abstain}]").decide(UNKNOWN, UNSCORED)
    assert broken.explanation == "the answer is unscored (not_finite: a logit is NaN): rule 'u'"
    assert policy("[{name: all, then: answer}]").decide(UNKNOWN, SCORED).explanation == "rule 'all' is for every answer"


def test_the_order_of_rules_decides() -> None:
    first = policy(f"[{SURE}, {{name: rest, then: hedge}}]")
    assert first.decide(sure(0.9), SCORED).rule == "sure"
    assert first.decide(sure(0.7), SCORED).rule == "rest"


def test_without_a_calibrator_a_rule_on_confidence_is_silent() -> None:
    decision = policy(f"[{SURE}]").decide(UNKNOWN, SCORED)
    assert decision.action == "abstain"
    assert "confidence unknown (no calibrator)" in decision.explanation


def test_a_retrieve_rule_fires_once_and_says_why_not_again() -> None:
    guard = policy(f"[{LOOK}, {{name: rest, then: hedge}}]")
    assert guard.decide(sure(0.5), SCORED).action == "retrieve"
    again = guard.decide(sure(0.5), SCORED, fired=("look",))
    assert again.action == "hedge"
    expected = (
        "rule 'rest' is for every answer; rule 'look' was passed over: it has retrieved for this question already"
    )
    assert again.explanation == expected
    assert "look" not in guard.decide(sure(0.5), SCORED, evidence=(PASSAGE,), fired=("look",)).explanation


def test_without_a_retriever_retrieve_rules_are_passed_over() -> None:
    decision = policy(f"[{LOOK}]").decide(sure(0.5), SCORED, retriever=False)
    assert decision.action == "abstain"
    assert decision.explanation.endswith("; rule 'look' was passed over: there is no retriever")


def test_passes_are_bounded_over_all_rules() -> None:
    two = "[{name: r1, when: {label: low}, then: retrieve}, {name: r2, then: retrieve}]"
    assert policy(two).decide(sure(0.5), SCORED, fired=("r1",)).explanation.endswith("passed over: max_passes is 1")
    assert policy(two, "retrieval: {max_passes: 2}\n").decide(sure(0.5), SCORED, fired=("r1",)).rule == "r2"
    never = policy(two, "retrieval: {max_passes: 0}\n")
    assert never.decide(sure(0.5), SCORED).action == "abstain"
    assert never.warnings == ("p.yaml:3: max_passes is 0, so no retrieve rule for answers ever fires",)
    assert not never.retrieves
    assert policy(two).retrieves


def test_a_catch_all_retrieve_rule_hides_nothing_below_it() -> None:
    assert policy("[{name: look, then: retrieve}, {name: rest, then: answer}]").warnings == ()


def test_wording_goes_with_the_decision() -> None:
    head = (
        "wording: {hedge: {medium: 'perhaps {answer}', unknown: 'who knows {answer}'}, abstain: 'no: {explanation}'}\n"
    )
    guard = policy(
        "[{name: cut, when: {finish_reason: length}, then: hedge, say: 'cut {answer}'}, "
        "{name: n, when: {confidence: {below: 0.3}}, then: abstain}, {name: a, then: hedge}]",
        head,
    )
    assert guard.decide(sure(0.5), SCORED).template == "perhaps {answer}"
    assert guard.decide(sure(0.9), SCORED).template is None
    assert guard.decide(UNKNOWN, SCORED).template == "who knows {answer}"
    assert guard.decide(sure(0.5), SCORED, finish_reason="length").template == "cut {answer}"
    assert guard.decide(sure(0.1), SCORED).template == "no: {explanation}"


def test_needs_confidence_looks_into_nested_conditions() -> None:
    assert not policy("[{name: a, when: {length: {at_most: 9}}, then: answer}]").needs_confidence
    assert policy("[{name: a, when: {not: {any: [{evidence: absent}, {label: low}]}}, then: answer}]").needs_confidence


def test_a_policy_is_immutable_and_hashable() -> None:
    guard = policy(f"[{SURE}]")
    with pytest.raises(dataclasses.FrozenInstanceError):
        guard.name = "other"  # type: ignore[misc]
    with pytest.raises(ValueError, match="frozen"):
        guard.rules[0].when.confidence.at_least = 0.0  # type: ignore[union-attr, misc]
    assert hash(guard) == hash(policy(f"[{SURE}]"))


def test_from_a_file_next_to_a_shipped_name(tmp_path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "default").write_text("version: 1\nname: mine\nrules: []\n")
    monkeypatch.chdir(tmp_path)
    assert Policy.load("default").name == "default"
    assert Policy.load("./default").name == "mine"
    assert Policy.load(tmp_path / "default").source == str(tmp_path / "default")


SEVERAL_LOOKS = """[{name: r1, when: {confidence: {below: 0.9}}, then: retrieve}, {name: r2, then: retrieve},
 {name: a, when: {confidence: {at_least: 0.4}}, then: answer}, {name: h, when: {length: {at_most: 9}}, then: hedge}]"""


@given(confidences, scores, situations, st.integers(0, 5))
def test_retrieval_ends(confidence: Confidence, score: Score, situation: dict[str, object], passes: int) -> None:
    """Also for a search that never finds anything, so that every pass looks like the first."""
    guard = policy(SEVERAL_LOOKS, f"retrieval: {{max_passes: {passes}}}\n")
    fired: list[str] = []
    while (decision := guard.decide(confidence, score, **situation, fired=fired)).action == "retrieve":  # type: ignore[arg-type]
        assert decision.rule not in fired
        fired.append(decision.rule)
        assert len(fired) <= passes
    assert decision.action in ACTIONS
