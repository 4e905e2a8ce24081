"""The policies that ship, read from the files a user gets."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given

from guardrail.policy import NO_RULE, Policy
from guardrail.types import ACTIONS, UNLIKE, Confidence, Score, Verification
from tests.helpers.policy_answers import (
    GUARDED,
    PASSAGE,
    SCORED,
    UNKNOWN,
    confidences,
    probabilities,
    scores,
    shipped,
    situations,
    sure,
    unscored,
)

CAUTION = {"answer": 0, "hedge": 1, "retrieve": 2, "abstain": 3, "ask_back": 3}


def test_names() -> None:
    assert Policy.shipped() == ("ask_back", "default", "observe", "per_claim", "retrieve_first", "strict")


@pytest.mark.parametrize("name", Policy.shipped())
def test_each_loads_without_a_warning_and_is_described(name: str) -> None:
    policy = shipped(name)
    assert policy.name == policy.source == name
    assert policy.description
    assert policy.warnings == ()
    assert policy.text.startswith("# ")
    assert policy.needs_confidence is (name in (*GUARDED, "ask_back"))
    assert policy.retrieves is (name in GUARDED)


@pytest.mark.parametrize("name", Policy.shipped())
@given(confidences, scores, situations)
def test_decide_is_total(name: str, confidence: Confidence, score: Score, situation: dict[str, object]) -> None:
    decision = shipped(name).decide(confidence, score, **situation)  # type: ignore[arg-type]
    assert decision.action in ACTIONS
    assert decision.rule
    assert decision.explanation.isprintable() or "\n" not in decision.explanation
    assert decision.action != "retrieve" or situation["retriever"]


@pytest.mark.parametrize("name", GUARDED)
@given(confidences, unscored, situations)
def test_unscored_abstains(name: str, confidence: Confidence, score: Score, situation: dict[str, object]) -> None:
    assert shipped(name).decide(confidence, score, **situation).action == "abstain"  # type: ignore[arg-type]


@pytest.mark.parametrize("name", GUARDED)
@given(situations)
def test_an_unknown_confidence_is_never_answered_or_hedged(name: str, situation: dict[str, object]) -> None:
    for confidence in (UNKNOWN, Confidence(float("nan"), None, None, "very high")):
        assert shipped(name).decide(confidence, SCORED, **situation).action in ("abstain", "retrieve")  # type: ignore[arg-type]


@pytest.mark.parametrize("name", GUARDED)
@given(probabilities, probabilities, situations)
def test_more_confidence_is_never_more_caution(name: str, p: float, q: float, situation: dict[str, object]) -> None:
    policy = shipped(name)
    low, high = (policy.decide(sure(x), SCORED, **situation).action for x in sorted((p, q)))  # type: ignore[arg-type]
    assert CAUTION[high] <= CAUTION[low]


@pytest.mark.parametrize("name", GUARDED)
@given(confidences, scores)
def test_a_retriever_is_used_at_most_once(name: str, confidence: Confidence, score: Score) -> None:
    policy = shipped(name)
    first = policy.decide(confidence, score)
    assert policy.decide(confidence, score, fired=[first.rule]).action != "retrieve"


@pytest.mark.parametrize("name", GUARDED)
@given(probabilities, situations)
def test_a_known_confidence_always_meets_a_rule(name: str, p: float, situation: dict[str, object]) -> None:
    assert shipped(name).decide(sure(p), SCORED, **situation).rule != NO_RULE  # type: ignore[arg-type]


@pytest.mark.parametrize("name", GUARDED)
@given(probabilities)
def test_a_cut_answer_is_never_shown_as_whole(name: str, p: float) -> None:
    for evidence in ((), (PASSAGE,)):
        decision = shipped(name).decide(sure(p), SCORED, evidence=evidence, finish_reason="length")
        assert decision.action != "answer"


@given(confidences, scores, situations)
def test_observe_answers_everything(confidence: Confidence, score: Score, situation: dict[str, object]) -> None:
    assert shipped("observe").decide(confidence, score, **situation).action == "answer"  # type: ignore[arg-type]


def test_each_action_of_default_can_happen() -> None:
    default = shipped("default")
    assert default.decide(sure(1.0), SCORED).action == "answer"
    assert default.decide(sure(0.0), SCORED).action == "retrieve"
    assert default.decide(sure(0.0), SCORED, evidence=(PASSAGE,)).action == "abstain"
    reached = {default.decide(sure(p / 100), SCORED, evidence=(PASSAGE,)).action for p in range(101)}
    assert reached == {"answer", "hedge", "abstain"}


def test_strict_answers_nothing_that_default_does_not() -> None:
    default, strict = shipped("default"), shipped("strict")
    for p in range(101):
        if strict.decide(sure(p / 100), SCORED).action == "answer":
            assert default.decide(sure(p / 100), SCORED).action == "answer"


def test_strict_wants_the_calibrated_range() -> None:
    assert shipped("strict").decide(sure(1.0), SCORED).action == "answer"
    assert shipped("strict").decide(sure(1.0, in_range=False), SCORED, retriever=False).action == "abstain"


def test_retrieve_first_answers_only_with_a_passage() -> None:
    policy = shipped("retrieve_first")
    assert policy.decide(sure(1.0), SCORED).action == "retrieve"
    assert policy.decide(sure(1.0), SCORED, evidence=(PASSAGE,), fired=("look it up",)).action == "answer"
    assert policy.decide(sure(1.0), SCORED, retriever=False).action == "hedge"


@pytest.mark.parametrize("name", [name for name in GUARDED if name != "per_claim"])
@given(probabilities, situations)
def test_an_unlike_question_is_hedged_at_most(name: str, p: float, situation: dict[str, object]) -> None:
    unlike = replace(sure(p), familiarity=UNLIKE)
    assert shipped(name).decide(unlike, SCORED, **situation).action != "answer"  # type: ignore[arg-type]


@given(probabilities)
def test_claims_about_an_unlike_question_are_kept_for_a_passage_alone(p: float) -> None:
    unlike, policy = replace(sure(p), familiarity=UNLIKE), shipped("per_claim")
    for found in (None, Verification("not found", "a test"), Verification("contradicted", "a test")):
        decided = policy.decide_claim(unlike, SCORED, kind="sentence", verification=found, retriever=False)
        assert decided.action in ("hedge", "drop")
    backed = Verification("supported", "a test")
    assert policy.decide_claim(unlike, SCORED, kind="sentence", verification=backed, retriever=False).action == "keep"
