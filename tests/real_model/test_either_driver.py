"""Our loop and transformers' continuous batching on the embedded model: same answers, same scores, same verdicts."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from guardrail import Guard

pytestmark = pytest.mark.real_model

QUESTIONS = ["What is the capital of Japan?", "Who wrote Hamlet?", "Which metal is liquid at room temperature?"]


def test_the_verdicts_are_the_same(embedded_model):
    guard = Guard(model=embedded_model, policy="default")
    found = {}
    for driver in ("guardrail", "transformers"):
        with embedded_model.shared(driver=driver), ThreadPoolExecutor(len(QUESTIONS)) as pool:
            found[driver] = list(pool.map(lambda q: guard.answer(q, max_new_tokens=8), QUESTIONS))
    for ours, theirs in zip(*found.values(), strict=True):
        assert (ours.text, ours.action, ours.label) == (theirs.text, theirs.action, theirs.label)
        assert ours.attempts[0].trace.response_ids == theirs.attempts[0].trace.response_ids
        assert ours.score.value == pytest.approx(theirs.score.value, rel=1e-3)
        assert ours.confidence.p_correct == pytest.approx(theirs.confidence.p_correct, rel=1e-3)
        assert ours.confidence.basis == theirs.confidence.basis
