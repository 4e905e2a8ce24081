"""Claims scored by the stacked scorer in a Guard: streamed or not, the same scores."""

from __future__ import annotations

import pytest

from guardrail import Guard
from guardrail.pipeline.hooks import Hooks
from guardrail.pipeline.streaming import ClaimStream
from guardrail.scoring.stacked.model import StackedFeature, StackedModel
from tests.helpers.scripted_claims import QUESTION, STRICT, fitted, france

MODEL = StackedModel(
    intercept=0.0,
    common_words=("is",),
    features=tuple(
        StackedFeature(name=name, weight=1.0, quantiles=(0.0, 1.0, 9.0, 90.0))
        for name in ("new_nll", "semgrad[-4]", "so_far.least_likely_word", "so_far.new_entropy")
    ),
)


def test_streamed_claims_have_the_scores_of_the_finished_answer():
    calibrator = fitted(france(), 1.5, scorer="stacked", profile=MODEL.model_dump(mode="json"))
    guard = Guard(model=france(), policy=STRICT, claim_calibrator=calibrator)
    whole = guard.answer(QUESTION)
    pieces = []
    verdict = guard.answer_batch([QUESTION], hooks=Hooks(claim_stream=ClaimStream(pieces.append)))[0]
    assert len(whole.claims) == 6
    assert {c.score.name for c in whole.claims} == {"stacked"}
    assert len({c.score.value for c in whole.claims}) == 6
    for one, other in zip(verdict.claims, whole.claims, strict=True):
        assert one.score.value == pytest.approx(other.score.value, rel=1e-4)
