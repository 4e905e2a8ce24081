"""Conditions, one at a time and combined; what is unknown never matches, not even under `not`."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardrail.policy.checks import covers
from guardrail.policy.conditions import When
from guardrail.policy.facts import AnswerFacts
from guardrail.policy.matching import evaluate, number
from guardrail.types import FINISH_REASONS, LABELS, UNSCORED_REASONS, Confidence, Score
from tests.helpers.policy_answers import (  # fmt: skip
    PASSAGE,
    SCORED,
    UNKNOWN,
    UNSCORED,
    broken,
    known,
    matches,
    policy,
    probabilities,
    scored,
    scores,
    situations,
    sure,
)


@pytest.mark.parametrize(
    ("when", "p", "expected"),
    [
        ("{confidence: {at_least: 0.6}}", 0.6, True),
        ("{confidence: {above: 0.6}}", 0.6, False),
        ("{confidence: {at_most: 0.6}}", 0.6, True),
        ("{confidence: {below: 0.6}}", 0.6, False),
        ("{confidence: {at_least: 0.2, below: 0.6}}", 0.5, True),
        ("{confidence: {at_least: 0.2, below: 0.6}}", 0.1, False),
        ("{label: medium}", 0.5, True),
        ("{label: [low, very low]}", 0.5, False),
        ("{confidence: {at_least: 0.9}, label: medium}", 0.5, False),
        ("{any: [{confidence: {at_least: 0.9}}, {label: medium}]}", 0.5, True),
        ("{not: {label: medium}}", 0.5, False),
        ("{not: {label: medium}}", 0.9, True),
        ("{not: {any: [{label: medium}, {confidence: {above: 0.95}}]}}", 0.9, True),
        ("{in_range: true}", 0.5, True),
        ("{in_range: false}", 0.5, False),
        ("{unscored: false}", 0.5, True),
        ("{unscored: true}", 0.5, False),
        ("{length: {at_most: 4}}", 0.5, True),
        ("{length: {below: 4}}", 0.5, False),
    ],
)
def test_conditions(when: str, p: float, expected: bool) -> None:
    assert matches(when, sure(p)) is expected


def test_evidence_and_finish_reason() -> None:
    assert matches("{evidence: present}", sure(0.5), evidence=(PASSAGE,))
    assert not matches("{evidence: present}", sure(0.5))
    assert matches("{evidence: absent}", sure(0.5))
    assert matches("{finish_reason: [length, given]}", sure(0.5), finish_reason="given")
    assert not matches("{finish_reason: length}", sure(0.5))


def test_unscored_by_reason() -> None:
    assert matches("{unscored: true}", UNKNOWN, UNSCORED)
    assert matches("{unscored: [not_finite, empty_answer]}", UNKNOWN, UNSCORED)
    assert not matches("{unscored: empty_answer}", UNKNOWN, UNSCORED)
    assert not matches("{unscored: false}", UNKNOWN, UNSCORED)


ABOUT_CONFIDENCE = [
    "{confidence: {at_least: 0}}",
    "{label: [very low, low, medium, high, very high]}",
    "{in_range: true}",
    "{in_range: false}",
    "{not: {confidence: {below: 0.5}}}",
    "{not: {label: very low}}",
    "{not: {not: {confidence: {at_least: 0}}}}",
    "{not: {confidence: {below: 0.5}, evidence: absent}}",
    "{any: [{confidence: {below: 0.5}}, {not: {confidence: {below: 0.5}}}]}",
    "{not: {any: [{confidence: {above: 0.5}}, {evidence: present}]}}",
]


@pytest.mark.parametrize("when", ABOUT_CONFIDENCE)
@pytest.mark.parametrize("p", [None, float("nan"), float("inf"), 1.5, -0.1])
def test_what_is_unknown_never_matches(when: str, p: float | None) -> None:
    assert not matches(when, Confidence(p, None, None, "very high", True, "broken"))


@pytest.mark.parametrize("when", ABOUT_CONFIDENCE)
def test_an_unscored_answer_has_no_confidence_whatever_it_claims(when: str) -> None:
    assert not matches(when, sure(0.99), UNSCORED)


def test_what_is_known_settles_a_combination_with_something_unknown() -> None:
    assert matches("{any: [{confidence: {above: 0.5}}, {evidence: absent}]}", UNKNOWN)
    assert matches("{not: {confidence: {above: 0.5}, evidence: present}}", UNKNOWN)


bounds = st.one_of(
    st.fixed_dictionaries({"at_least": probabilities}),
    st.fixed_dictionaries({"at_most": probabilities}),
    st.tuples(probabilities, probabilities).map(lambda pair: {"at_least": min(pair), "at_most": max(pair)}),
    st.floats(0, 0.99).map(lambda p: {"above": p}),
    st.floats(0.01, 1).map(lambda p: {"below": p}),
)
lengths = st.one_of(
    st.integers(0, 50).map(lambda n: {"at_least": n}),
    st.integers(0, 50).map(lambda n: {"at_most": n}),
    st.integers(1, 50).map(lambda n: {"below": n}),
)
simple = st.fixed_dictionaries(
    {},
    optional={
        "confidence": bounds,
        "label": st.sets(st.sampled_from(LABELS), min_size=1).map(tuple),
        "evidence": st.sampled_from(["present", "absent"]),
        "length": lengths,
        "finish_reason": st.sets(st.sampled_from(FINISH_REASONS), min_size=1).map(tuple),
        "unscored": st.one_of(st.booleans(), st.sets(st.sampled_from(UNSCORED_REASONS), min_size=1).map(tuple)),
        "in_range": st.booleans(),
    },
).filter(bool)
nested = st.recursive(
    simple,
    lambda inner: st.one_of(
        inner.map(lambda when: {"not": when}),
        st.lists(inner, min_size=1, max_size=3).map(lambda ws: {"any": tuple(ws)}),
    ),
    max_leaves=5,
)
whens = nested.map(When.model_validate)


def facts(confidence: Confidence, score: Score, situation: dict[str, object]) -> AnswerFacts:
    return AnswerFacts(confidence, score, len(situation["evidence"]), str(situation["finish_reason"]))  # type: ignore[arg-type]


@given(whens, broken, known, scored, situations)
def test_what_matches_without_a_confidence_matches_with_any(
    when: When, nothing: Confidence, something: Confidence, score: Score, situation: dict[str, object]
) -> None:
    """Kleene's logic is monotone: knowing more can settle the unknown, never turn true into false or back."""
    before = evaluate(when, facts(nothing, score, situation)).truth
    after = evaluate(when, facts(something, score, situation)).truth
    assert before is None or before is after
    assert after is not None


@given(nested, st.one_of(known, broken), scores, situations)
def test_not_turns_true_and_false_around_and_leaves_unknown(
    when: dict[str, object], confidence: Confidence, score: Score, situation: dict[str, object]
) -> None:
    seen = facts(confidence, score, situation)
    plain, negated = evaluate(When.model_validate(when), seen), evaluate(When.model_validate({"not": when}), seen)
    assert negated.truth is (None if plain.truth is None else not plain.truth)
    assert plain.phrase
    assert "\n" not in plain.phrase


@given(whens, whens, st.one_of(known, broken), scores, situations)
def test_a_rule_called_covered_is_covered(
    wide: When, narrow: When, confidence: Confidence, score: Score, situation: dict[str, object]
) -> None:
    seen = facts(confidence, score, situation)
    if covers(wide, narrow) and evaluate(narrow, seen).truth is True:
        assert evaluate(wide, seen).truth is True


@pytest.mark.parametrize(
    ("wide", "narrow", "expected"),
    [
        ({"confidence": {"at_least": 0.6}}, {"confidence": {"above": 0.6}}, True),
        ({"confidence": {"above": 0.6}}, {"confidence": {"at_least": 0.6}}, False),
        ({"confidence": {"at_most": 0.6}}, {"confidence": {"below": 0.6}}, True),
        ({"confidence": {"below": 0.6}}, {"confidence": {"at_most": 0.6}}, False),
        ({"confidence": {"at_least": 0.2, "below": 0.6}}, {"confidence": {"at_least": 0.4}}, False),
        ({"confidence": {"at_least": 0.6}}, {"evidence": "absent"}, False),
        ({"length": {"at_most": 9}}, {"length": {"at_least": 3}}, False),
        ({"unscored": False}, {"label": ("low",)}, True),
        ({"unscored": False}, {"evidence": "absent"}, False),
        ({"unscored": False}, {"unscored": True}, False),
        ({"unscored": True}, {"unscored": ("not_finite",)}, True),
        ({"unscored": ("not_finite",)}, {"unscored": True}, False),
        ({"unscored": True}, {"label": ("low",)}, False),
        ({"in_range": True}, {"in_range": False}, False),
        ({"any": ({"label": ("low",)},)}, {"label": ("low",)}, False),  # true, but not seen: in doubt, no error
        ({}, {"evidence": "absent"}, True),
        ({"evidence": "absent"}, {}, False),
    ],
)
def test_what_covers_what(wide: dict[str, object], narrow: dict[str, object], expected: bool) -> None:
    assert covers(When.model_validate(wide), When.model_validate(narrow)) is expected


@given(simple, bounds, st.one_of(known, broken), scores, situations)
def test_a_condition_covers_itself_with_more(
    when: dict[str, object], more: dict[str, float], confidence: Confidence, score: Score, situation: dict[str, object]
) -> None:
    wide = When.model_validate(when)
    narrow = When.model_validate({"confidence": more} | when)
    assert covers(wide, narrow)
    seen = facts(confidence, score, situation)
    assert evaluate(narrow, seen).truth is not True or evaluate(wide, seen).truth is True


@given(probabilities, st.lists(probabilities, max_size=3))
def test_a_shown_number_stands_on_the_right_side_of_every_bound(p: float, others: list[float]) -> None:
    shown = float(number(p, others))
    assert all((shown < bound) == (p < bound) for bound in others if bound != p)


def test_numbers_are_shown_with_two_digits_where_that_is_enough() -> None:
    assert number(0.8312, [0.8]) == "0.83"
    assert number(0.7996, [0.8]) == "0.7996"
    assert number(0.8, [0.8]) == "0.80"


def test_the_shorthand_for_one_is_the_list_of_one() -> None:
    for one, several in [("{label: low}", "{label: [low]}"), ("{unscored: not_finite}", "{unscored: [not_finite]}")]:
        first, second = (policy(f"[{{name: a, when: {when}, then: answer}}]").rules for when in (one, several))
        assert first == second
    assert SCORED.unscored is None
