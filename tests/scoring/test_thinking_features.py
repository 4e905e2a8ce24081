"""What a thought tells: measured while it is drawn, and weighed by the stacked score; neutral where nothing was thought."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from guardrail import Guard, IsotonicCalibrator
from guardrail.calibration.provenance import Provenance
from guardrail.calibration.stacking import THOUGHT, fit_stacked, stacked_scores
from guardrail.runs.collect import kept_for
from guardrail.runs.readings import record_of
from guardrail.scoring.stacked.features import Reading, Tokens, exists, features
from guardrail.scoring.stacked.model import StackedFeature, StackedModel
from guardrail.scoring.stacked.scorer import StackedScorer
from guardrail.scoring.stacked.thinking import thinking_features
from tests.helpers.thinkers import saying, thinker

THOUGHT_ABOUT, PLAIN = "<think>Lyon? No, it is not.</think>Paris", "Paris"


def reading(entropies=None, nll=1.0):
    tokens = Tokens((), np.array([0.5]), np.array([-nll]))
    return Reading(tokens, frozenset(), 0.1, {-1: 0.2}, thought=None if entropies is None else np.array(entropies))


def test_by_hand():
    found = thinking_features(np.array([1.0, 2.0, 3.0, 4.0, 5.0, 6.0]))
    assert found == {"thinking.tokens": 6.0, "thinking.entropy_early": 1.5, "thinking.entropy_late": 5.5}
    assert thinking_features(np.array([2.0])) == dict(zip(THOUGHT, (1.0, 2.0, 2.0), strict=True))
    assert set(THOUGHT) <= set(features(reading([1.0]), ()))
    assert not set(THOUGHT) & set(features(reading(), ()))
    assert all(map(exists, THOUGHT))
    assert not exists("thinking.speed")


def test_the_entropies_are_those_of_a_plain_forward_pass(monkeypatch):
    local = saying(thinker("qwen"), THOUGHT_ABOUT, monkeypatch)
    (trace,) = local.generate_batch(["Capital?"], max_new_tokens=80, keep=kept_for(local))
    assert len(trace.thinking_entropies) == trace.thinking_tokens > 10
    with torch.no_grad():
        logits = local.model(torch.tensor([trace.prompt_ids])).logits[0].double()  # (P, V)
    log_p = logits[-trace.thinking_tokens - 1 : -1].log_softmax(-1)
    expected = -(log_p.exp() * log_p).sum(-1)
    np.testing.assert_allclose(trace.thinking_entropies, expected.numpy(), rtol=1e-4)
    assert record_of(trace)["thinking_entropies"] == list(trace.thinking_entropies)
    together = local.generate_batch(["Capital?", "And the capital of Peru?"], max_new_tokens=80, keep=kept_for(local))
    np.testing.assert_allclose(together[0].thinking_entropies, trace.thinking_entropies, rtol=1e-4)


def test_nothing_is_measured_where_nothing_is_thought_or_scored(monkeypatch):
    local = saying(thinker("qwen"), PLAIN, monkeypatch)
    (plain,) = local.generate_batch(["Capital?"], max_new_tokens=80, keep=kept_for(local))
    assert plain.thinking_entropies is None
    assert "thinking_entropies" not in record_of(plain)
    monkeypatch.undo()
    saying(local, THOUGHT_ABOUT, monkeypatch)
    (unkept,) = local.generate_batch(["Capital?"], max_new_tokens=80)
    assert (unkept.thought, unkept.thinking_entropies) == (True, None)


def test_a_fit_weighs_what_tells_and_the_others_stand_at_the_median():
    rng = np.random.default_rng(0)
    correct = rng.random(200) < 0.5
    thought = [None if i % 4 == 0 else [1.0 if right else 3.0] * 30 for i, right in enumerate(correct.tolist())]
    readings = [reading(own, nll) for own, nll in zip(thought, rng.random(200).tolist(), strict=True)]
    model = fit_stacked(readings, correct)
    weights = {f.name: f.weight for f in model.features}
    assert weights["thinking.entropy_late"] > 1
    without, surest, least = stacked_scores(model, [reading(), reading([1.0] * 30), reading([3.0] * 30)])
    assert surest < without < least
    flat = model.contributions(features(reading(), model.common))
    assert flat["thinking.entropy_late"] == pytest.approx(0.5 * weights["thinking.entropy_late"])
    few = [replace(one, thought=None) if i >= 29 else one for i, one in enumerate(readings)]
    assert not set(THOUGHT) & {f.name for f in fit_stacked(few, correct).features}


def calibrator_of(local, scorer):
    provenance = Provenance(
        model=local.identity, scorer=scorer.name, profile=scorer.options, prompt="{question}", system=None, data="x",
        n=100, accuracy=0.5, created="2026-01-01", command="test", versions={}, grader="exact",
        generation={"max_new_tokens": 80, "thinking": "some"},
    )  # fmt: skip
    return IsotonicCalibrator().fit(np.linspace(-2, 2, 100), np.arange(100) % 3 == 0, provenance=provenance)


def test_the_scorer_reads_them(monkeypatch):
    local = saying(thinker("qwen"), THOUGHT_ABOUT, monkeypatch)
    (trace,) = local.generate_batch(["Capital?"], max_new_tokens=80, keep=kept_for(local))
    feature = StackedFeature(name="thinking.tokens", weight=2.0, quantiles=(0.0, 50.0, 100.0))
    scorer = StackedScorer(local, StackedModel(intercept=-1.0, common_words=(), features=(feature,)))
    assert scorer.score_traces([trace])[0].value == pytest.approx(-1 + 2 * trace.thinking_tokens / 100)
    assert scorer.explain(trace) == {"thinking.tokens": pytest.approx(2 * trace.thinking_tokens / 100)}
    given = local.trace("Capital?", PLAIN)
    assert scorer.score_traces([given])[0].value == pytest.approx(0.0)
    for text, told in ((PLAIN, False), (THOUGHT_ABOUT, True)):  # a given thought has no entropies, and that is said
        checked = Guard(model=local, calibrator=calibrator_of(local, scorer), policy="observe").check("Who?", text)
        assert ("its thinking was given" in checked.confidence.reason) == told
