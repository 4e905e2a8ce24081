"""The golden values of the embedded model, measured by a straightforward autograd implementation (float32 CPU, torch
2.13, transformers 5.23, SmolLM2-135M-Instruct Q4_1 dequantised), and the slow reference on the same answer."""

from __future__ import annotations

import pytest

from guardrail.runs.prompts import DIRECT
from guardrail.scoring.hybridgrad import HybridGradScorer
from guardrail.scoring.suffix import Row
from tests.helpers.slow_reference import slow_hybridgrad

pytestmark = pytest.mark.real_model
QUESTION = DIRECT.replace("{question}", "What is the capital of Burkina Faso?")


@pytest.fixture(scope="module")
def trace(embedded_model):
    return embedded_model.generate(QUESTION, keep=HybridGradScorer(embedded_model).keep)


def test_prompt_and_greedy_answer(trace):
    assert len(trace.prompt_ids) == 53
    assert trace.response_ids == (50, 2231, 38713, 2)
    assert (trace.text, trace.finish_reason) == ("Bokassa", "stop")


def test_semantic_token(embedded_model):
    token = embedded_model.semantic_token
    assert (token.offset, token.text) == (-4, "<|im_start|>")


def test_golden_values(embedded_model, trace):
    scorer = HybridGradScorer(embedded_model)
    for score in (scorer.score_trace(trace), scorer.score(trace.prompt_ids, trace.response_ids)):
        assert score.semgrad == pytest.approx(2.3028e-4, rel=1e-4)
        assert score.paragrad == pytest.approx(1.54976e-4, rel=1e-4)
        assert score.entropy == pytest.approx(3.95133, rel=1e-4)
        assert score.nll == pytest.approx(7.13170, rel=1e-4)
        assert score.hybridgrad == pytest.approx(2.28835e-4, rel=1e-4)


def test_golden_values_of_other_tokens_and_exgrad(embedded_model, trace):
    row = Row(trace.prompt_ids, trace.response_ids)
    readout = HybridGradScorer(embedded_model).read([row], [-7, -1], 15, exgrad=True)[0]
    assert readout.semgrad.mean(0).tolist() == pytest.approx([1.3882e-3, 1.02578e-2], rel=1e-4)
    assert readout.exgrad == pytest.approx(3.88434e-5, rel=1e-4)


def test_sum_is_four_times_mean(embedded_model, trace):
    summed = HybridGradScorer(embedded_model, reduction="sum").score_trace(trace)
    assert summed.semgrad == pytest.approx(4 * 2.3028e-4, rel=1e-4)
    assert summed.paragrad == pytest.approx(4 * 1.54976e-4, rel=1e-4)


def test_slow_reference(embedded_model, trace):
    reference = slow_hybridgrad(embedded_model.model, trace.prompt_ids, trace.response_ids, token=-4)
    score = HybridGradScorer(embedded_model).score_trace(trace)
    for part, value in reference.items():
        assert getattr(score, part) == pytest.approx(value, rel=1e-4), part


def test_batch_equals_single(embedded_model, trace):
    scorer = HybridGradScorer(embedded_model)
    other = embedded_model.trace("What is two plus two?", "Four.")
    single = [scorer.score_trace(t) for t in (trace, other)]
    batch = scorer.score_batch([(t.prompt_ids, t.response_ids) for t in (trace, other)])
    for one, many in zip(single, batch, strict=True):
        assert many.hybridgrad == pytest.approx(one.hybridgrad, rel=1e-4)
