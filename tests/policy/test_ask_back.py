"""The condition `ambiguous` and the action `ask_back`: read, decided, and worded without the answer."""

from __future__ import annotations

import pytest

from guardrail.actions import DEFAULT_ASK_BACK, render
from guardrail.errors import PolicyError
from guardrail.policy import Policy
from guardrail.types import WITHHELD, Confidence, Score


def policy(rules, more="ambiguity: {above: 2.5}\n"):
    return Policy.from_text(f"version: 1\nname: mine\n{more}rules:\n{rules}", "mine.yaml")


ASKS = "  - {name: unclear, when: {ambiguous: true}, then: ask_back}\n  - {name: rest, then: answer}\n"
CLEAR = "  - {name: clear, when: {ambiguous: false}, then: answer}\n"


def decided(found, ambiguity):
    return found.decide(Confidence.none("none"), Score.of("g-nll", 1.0, length=3), ambiguity=ambiguity)


@pytest.mark.parametrize(
    ("ambiguity", "action", "says"),
    [
        (Score.of("semantic-volume", 2.51, length=0), "ask_back", "ambiguous (semantic-volume 2.51, bound 2.5)"),
        (Score.of("semantic-volume", 2.5, length=0), "answer", "rule 'rest'"),
        (Score.none("not_finite", "NaN", length=0), "ask_back", "is not known (unscored: not_finite)"),
        (None, "ask_back", "is not known (it was not measured)"),
    ],
)
def test_a_question_above_the_bound_or_without_a_number_is_asked_about(ambiguity, action, says):
    decision = decided(policy(ASKS), ambiguity)
    assert (decision.action, says in decision.explanation) == (action, True), decision.explanation
    clear = decided(policy(CLEAR), ambiguity)
    assert clear.action == ("answer" if action == "answer" else "abstain"), "nothing is clear that was not measured"


def test_not_and_any_keep_what_is_unknown_ambiguous():
    inner = "  - {name: a, when: {not: {ambiguous: true}}, then: answer}\n  - {name: b, then: ask_back}\n"
    assert decided(policy(inner), None).action == "ask_back"
    assert decided(policy(inner), Score.of("semantic-volume", 0.0, length=0)).action == "answer"
    assert policy(inner).looks_at_ambiguity
    assert not policy("  - {name: a, then: answer}\n").looks_at_ambiguity


def test_what_it_says_holds_nothing_of_the_answer():
    decision = decided(policy(ASKS), None)
    assert render(decision, "Paris", Confidence.none("none")) == DEFAULT_ASK_BACK
    said = policy(ASKS.replace("ask_back}", "ask_back, say: 'Which one? {explanation}'}"))
    text = render(decided(said, None), "Paris", Confidence.none("none"))
    assert text.startswith("Which one? whether the question is ambiguous")
    assert "Paris" not in text
    worded = policy(ASKS, "ambiguity: {above: 0}\nwording: {ask_back: Say more.}\n")
    assert render(decided(worded, None), "Paris", Confidence.none("none")) == "Say more."
    assert set(WITHHELD) == {"abstain", "ask_back"}


@pytest.mark.parametrize(
    ("rules", "more", "wrong"),
    [
        (
            ASKS,
            "",
            r"mine.yaml:4.*'unclear' asks whether the question is ambiguous, and nothing says when it is; add `ambig",
        ),
        (ASKS, "ambiguity: {}\n", "above"),
        (ASKS, "ambiguity: {above: .nan}\n", "above"),
        (ASKS, "ambiguity: {above: 1, samples: 1}\n", "samples"),
        (ASKS, "ambiguity: {above: 1, scorer: semantic-volum}\n", "did you mean 'semantic-volume'"),
        (ASKS, "ambiguity: {above: 1, bound: 2}\n", "bound"),
        (
            ASKS.replace("ask_back", "ask_back, say: 'It is {answer}'"),
            "ambiguity: {above: 1}\n",
            "asks back, but its 'say' shows",
        ),
        (
            ASKS,
            "ambiguity: {above: 1}\nwording: {ask_back: '{answer}?'}\n",
            r"ask_back shows \{answer\} while it asks back",
        ),
        (
            "  - {name: a, when: {ambiguous: true}, then: ask_back}\n"
            "  - {name: b, when: {ambiguous: true, length: {above: 3}}, then: answer}\n",
            "ambiguity: {above: 1}\n",
            "can never fire",
        ),
    ],
)
def test_mistakes_fail_at_load_with_what_to_do(rules, more, wrong):
    with pytest.raises(PolicyError, match=wrong):
        policy(rules, more)


def test_what_has_no_effect_is_said():
    (warning,) = policy("  - {name: rest, then: answer}\n").warnings
    assert "no rule has the condition `ambiguous`, so nothing is measured" in warning
    (warning,) = policy("  - {name: rest, then: answer}\n", "wording: {ask_back: Say more.}\n").warnings
    assert "no rule asks back" in warning


def test_the_shipped_policy_asks_before_it_looks_at_confidence():
    shipped = Policy.load("ask_back")
    assert decided(shipped, Score.of("semantic-volume", 0.0, length=0)).action == "ask_back"
    assert decided(shipped, Score.of("semantic-volume", -30.0, length=0)).action == "abstain", "without a confidence"
