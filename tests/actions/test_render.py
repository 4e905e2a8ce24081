"""What the user is shown: as it is, hedged by degree, or a message that says why and does not hold the answer."""

from __future__ import annotations

import pytest

from guardrail.actions import DEFAULT_HEDGE, render
from guardrail.actions.wording import percent
from guardrail.policy import Policy
from guardrail.types import LABELS, Confidence, Decision, Score

MEDIUM = Confidence(0.52, 0.4, 0.6, "medium")
ANSWER = "Ouaga{dougou} {label}"
WHY = "confidence 0.12 (very low) is below 0.35: rule 'too unsure'"


def decision(action: str, template: str | None = None) -> Decision:
    return Decision(action, "too unsure", WHY, template)  # type: ignore[arg-type]


def test_answer_is_the_answer() -> None:
    assert render(decision("answer"), ANSWER, MEDIUM) == ANSWER


def test_a_hedge_says_the_chance_and_then_the_answer() -> None:
    expected = f"I am not sure; this may as well be wrong as right (52% chance of being right): {ANSWER}"
    assert render(decision("hedge"), ANSWER, MEDIUM) == expected


def test_each_label_has_its_own_wording() -> None:
    texts = {
        render(decision("hedge"), ANSWER, Confidence(0.1 + 0.2 * i, 0, 1, label)) for i, label in enumerate(LABELS)
    }
    assert len(texts) == len(LABELS)
    assert all(text.endswith(f": {ANSWER}") for text in texts)
    assert set(DEFAULT_HEDGE) == {*LABELS, None}


@pytest.mark.parametrize(
    "confidence", [Confidence.none("no calibrator"), Confidence(float("nan"), None, None, "very high")]
)
def test_a_hedge_without_a_confidence_names_no_number(confidence: Confidence) -> None:
    expected = f"I cannot tell how likely this is to be right, so please check it: {ANSWER}"
    assert render(decision("hedge"), ANSWER, confidence) == expected


def test_abstain_says_why_and_holds_no_answer() -> None:
    text = render(decision("abstain"), "Ouagadougou", MEDIUM)
    assert text == f"I do not know this well enough to answer. Reason: {WHY}."
    assert "Ouagadougou" not in text


def test_a_template_decides_the_wording() -> None:
    every = "{label}|{confidence}|{explanation}|{answer}"
    assert render(decision("hedge", every), ANSWER, MEDIUM) == f"medium|52%|{WHY}|{ANSWER}"
    assert render(decision("abstain", every), ANSWER, MEDIUM) == f"medium|52%|{WHY}|"  # which no policy can hold
    assert render(decision("hedge", "perhaps {answer}"), ANSWER, MEDIUM) == f"perhaps {ANSWER}"


def test_retrieve_is_not_something_to_show() -> None:
    with pytest.raises(ValueError, match="rule 'too unsure' says retrieve, which cannot be shown"):
        render(decision("retrieve"), ANSWER, MEDIUM)


@pytest.mark.parametrize(
    ("p", "shown"),
    [
        (0.0, "0%"),
        (0.001, "under 1%"),
        (0.834, "83%"),
        (0.999, "over 99%"),
        (1.0, "100%"),
        (None, "unknown"),
        (float("nan"), "unknown"),
    ],
)
def test_percent_claims_certainty_only_where_there_is_some(p: float | None, shown: str) -> None:
    assert percent(p) == shown


def test_shipped_policies_abstain_without_the_answer() -> None:
    score = Score.none("empty_answer")
    for name in ("default", "strict", "retrieve_first"):
        text = render(Policy.load(name).decide(MEDIUM, score), "Ouagadougou", MEDIUM)
        assert "empty_answer" in text
        assert "Ouagadougou" not in text
