"""A verdict whose parts contradict each other cannot be built."""

from __future__ import annotations

from dataclasses import replace

import pytest

from guardrail.errors import ScoringError
from guardrail.types import Attempt, Claim, ClaimDecision, Confidence, Decision, JudgedClaim, Score, Verdict

SURE = Confidence(0.9, 0.8, 1.0, "very high")
NONE = Confidence.none("there is no calibrator")
SCORE = Score(0.1, 0.1, 0.1, 1.0, 2.0, 3)


def verdict(text="I do not know.", *, action="abstain", template=None, answer="Lyon", confidence=SURE, **values):
    decision = Decision(action, "rule", "it is unsure", template)
    attempt = Attempt(answer, SCORE, confidence, decision, "stop")
    return Verdict(text, (attempt,), **{"timing_ms": {}, "model": "m", "calibrator": "c", "policy": "p", **values})


def claim(shown, confidence=NONE):
    return JudgedClaim(Claim("Lyon", 0, 4), 0, 1, SCORE, confidence, ClaimDecision("keep", "r", "e"), None, shown)


def test_the_answer_is_not_the_text_of_an_abstention():
    assert verdict().text == "I do not know."
    for text in ("Lyon", " Lyon\n"):
        with pytest.raises(ScoringError, match="abstain, and the text is the answer"):
            verdict(text)
    with pytest.raises(ScoringError, match="abstain, and the text is the answer"):
        verdict("Lyon", template="I do not know: {explanation}")
    with pytest.raises(ScoringError, match="abstain, and the text is the answer"):
        replace(verdict("Lyon", action="answer"), attempts=verdict().attempts)


@pytest.mark.parametrize("template", ["{answer}", "I do not know.", "{answer}{label}"])
def test_the_wording_of_a_policy_may_be_what_the_model_said(template):
    assert verdict("I do not know.", answer="I do not know.", template=template).action == "abstain"


def test_no_claim_is_shown_in_an_abstention():
    assert verdict(claims=(claim(""),)).claims
    with pytest.raises(ScoringError, match="abstain, and a claim is shown"):
        verdict(claims=(claim("Lyon"),))


def test_no_verdict_without_an_attempt():
    with pytest.raises(ScoringError, match="without an attempt"):
        Verdict("Lyon", (), {}, "m", None, "p")


def test_no_probability_without_a_score():
    with pytest.raises(ScoringError, match="computed from a finite score"):
        Attempt("a", Score.none("not_finite"), SURE, Decision("answer", "r", "e"), "stop")
