"""Each claim of an answer gets what the slow reference gives when J is restricted to the claim's tokens."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from guardrail.errors import ScoringError
from guardrail.kernels import attention, gated_mlp, prefix, replay
from guardrail.model.local import LocalModel
from guardrail.scoring import gradients
from guardrail.scoring.hybridgrad import HybridGradScorer
from guardrail.scoring.suffix import Row
from guardrail.testing import ARCHITECTURES, MORE_ARCHITECTURES, tiny_model, tiny_tokenizer
from guardrail.types import Trace
from tests.helpers.slow_reference import slow_hybridgrad

PRODUCTS = (torch.ops.aten.mm.default, torch.ops.aten.mm.out, torch.ops.aten.addmm_.default)
PARTS = ("hybridgrad", "semgrad", "paragrad", "entropy", "nll")
PROMPT = [1, 7, 30, 41, 5, 99, 200, 17, 64, 33, 8, 150, 42, 6, 77, 21, 12, 90, 55, 301]  # longer than the windows of 8
RESPONSE = [140, 9, 260, 31, 88, 17, 203, 45, 61, 2]
SPANS = [(0, 4), (4, 5), (3, 8), (8, 9), (0, 10)]  # of one token, overlapping, in the middle, the whole

model_of = cache(tiny_model)


def given_trace(response=RESPONSE):
    return Trace((), tuple(PROMPT), tuple(response), "said", "given")


def agree(score, reference, rel=1e-4):
    assert {p: getattr(score, p) for p in PARTS} == pytest.approx({p: reference[p] for p in PARTS}, rel=rel)


@pytest.mark.parametrize("architecture", [*ARCHITECTURES, *MORE_ARCHITECTURES])
def test_spans_from_ids(architecture):
    model = model_of(architecture)
    for score, span in zip(
        HybridGradScorer(model, semantic_token=-4).score_spans([given_trace()], [SPANS])[0], SPANS, strict=True
    ):
        agree(score, slow_hybridgrad(model, PROMPT, RESPONSE, token=-4, span=span))
        assert score.length == span[1] - span[0]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_spans_after_generation(architecture):
    local = LocalModel(model_of(architecture), tiny_tokenizer())
    scorer = HybridGradScorer(local)
    traces = local.generate_batch(
        ["What is it?", "And why is it so, in a few words?"], max_new_tokens=8, keep=scorer.keep
    )
    traces = [replace(t, text="said") for t in traces]
    spans = [[(0, 3), (2, len(t.response_ids))] for t in traces]
    for trace, parts, scores in zip(traces, spans, scorer.score_spans(traces, spans), strict=True):
        for part, score in zip(parts, scores, strict=True):
            agree(
                score,
                slow_hybridgrad(
                    local.model, trace.prompt_ids, trace.response_ids, token=local.semantic_token.offset, span=part
                ),
            )


@pytest.mark.parametrize("stored", [0, 2**20])
@pytest.mark.parametrize("architecture", ["llama", "gpt_oss", "gemma2"])
def test_both_forms_of_attention(architecture, stored, monkeypatch):
    """Weights kept for the backward pass, and block by block."""
    monkeypatch.setattr(prefix, "MOST_STORED", stored)
    monkeypatch.setattr(attention, "CPU_BLOCK", 1)  # blocks of 64 positions
    prompt = (PROMPT * 8)[:150]
    model = model_of(architecture)
    trace = replace(given_trace(), prompt_ids=tuple(prompt))
    for score, span in zip(
        HybridGradScorer(model, semantic_token=-4).score_spans([trace], [SPANS])[0], SPANS, strict=True
    ):
        agree(score, slow_hybridgrad(model, prompt, RESPONSE, token=-4, span=span))


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_the_whole_answer_is_a_span(data):
    response = data.draw(st.lists(st.integers(3, 300), min_size=1, max_size=12))
    scorer = HybridGradScorer(model_of("qwen3"), semantic_token=-3)
    spans = [(0, len(response))] * data.draw(st.integers(1, 3))
    whole = scorer.score(PROMPT, response)
    for score in scorer.score_spans([given_trace(response)], [spans])[0]:
        agree(score, {part: getattr(whole, part) for part in PARTS}, rel=1e-5)


def test_what_comes_after_a_span_does_not_matter():
    scorer = HybridGradScorer(model_of("llama"), semantic_token=-4)
    [before] = scorer.score_spans([given_trace()], [[(2, 5)]])[0]
    [after] = scorer.score_spans([given_trace([*RESPONSE[:5], 250, 7, 7])], [[(2, 5)]])[0]
    agree(after, {part: getattr(before, part) for part in PARTS}, rel=1e-6)


def test_backward_products_end_with_the_span(monkeypatch):
    """The saving is there: rows behind a span enter no product; in the last layer, neither do those before it."""
    seen, product = [], replay._live_product

    def watched(grads, weight, live, last):
        with Products() as products:
            out = product(grads, weight, live, last)
        seen.append((last, sorted(products.rows)))
        return out

    monkeypatch.setattr(replay, "_live_product", watched)
    scorer = HybridGradScorer(model_of("llama"), semantic_token=-4)
    scorer.read_spans(Row(PROMPT, RESPONSE), [(0, 2), (2, 6)], [-4], 2)
    before = 3  # prompt tokens between t* and the first response token
    below = [rows for last, rows in seen if not last]
    assert below
    assert all(rows == [4, 2 * (before + 2)] for rows in below)  # those that only one has, and those that both have
    assert [2, 4] in [rows for last, rows in seen if last]


@pytest.mark.parametrize("spans", [[(2, 5), (0, 2), (5, 9)], [(5, 9)]])
@pytest.mark.parametrize("kept", [False, True])
def test_silent_spans_have_what_the_head_tells_and_no_backward_pass(spans, kept, monkeypatch):
    local = LocalModel(model_of("llama"), tiny_tokenizer())
    scorer = HybridGradScorer(local)
    trace = local.generate("What is it?", max_new_tokens=12, keep=scorer.keep if kept else None)
    row = scorer.rows_of([trace])[0]
    assert len(trace.response_ids) >= 9
    loud = scorer.read_spans(row, spans, [-4], 2)
    passes, backward = [], gradients._backward
    monkeypatch.setattr(gradients, "_backward", lambda *a: passes.append(len(a[1])) or backward(*a))
    silent = [span for span in spans if span != (0, 2)]
    found = scorer.read_spans(row, spans, [-4], 2, silent=silent)
    assert sum(passes) == len(spans) - len(silent)
    for span, one, other in zip(spans, found, loud, strict=True):
        assert torch.allclose(one.entropies, other.entropies)
        assert torch.allclose(one.log_probs, other.log_probs)
        assert one.paragrad == pytest.approx(other.paragrad)
        assert one.semgrad.shape == ((0, 0) if span in silent else other.semgrad.shape)
        assert one.finite()


@pytest.mark.parametrize("architecture", ["llama", "qwen3", "gemma2", "olmo2"])
def test_gated_mlps_run_live_rows_only(architecture, monkeypatch):
    seen, gradients = [], gated_mlp._gradients

    def watched(grads, weights, rows):
        with Products() as products:
            out = gradients(grads, weights, rows)
        seen.append((rows.last, products.rows))
        return out

    monkeypatch.setattr(gated_mlp, "_gradients", watched)
    scorer = HybridGradScorer(model_of(architecture), semantic_token=-4)
    scorer.read_spans(Row(PROMPT, RESPONSE), [(0, 2), (2, 6)], [-4], 2)
    common, more = 2 * 5, 4  # from t* to the first one's last token, for both; what only the second one has
    assert (False, [common] * 3 + [more] * 3) in seen
    assert (True, [6] * 3) in seen  # in the last layer the claims' own tokens


class Products(TorchDispatchMode):
    """How many rows each matrix product inside has."""

    def __init__(self):
        super().__init__()
        self.rows = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func in PRODUCTS:
            self.rows.append(len(args[func is torch.ops.aten.addmm_.default]))
        return func(*args, **(kwargs or {}))


class Pointer(torch.autograd.Function):
    """y = 2 x, as an extension that reads the numbers behind the tensor would have it."""

    @staticmethod
    def forward(ctx, x):
        return 2 * x

    @staticmethod
    def backward(ctx, grad):
        grad.data_ptr()
        return 2 * grad


def test_kernels_that_cannot_run_passes_together_run_them_one_by_one(monkeypatch):
    model = tiny_model("llama")
    act = model.model.layers[2].mlp.act_fn
    monkeypatch.setattr(model.model.layers[2].mlp, "act_fn", torch.nn.Sequential(act))
    model.model.layers[2].mlp.act_fn.forward = lambda x: Pointer.apply(act(x))
    [scores] = HybridGradScorer(model, semantic_token=-4).score_spans([given_trace()], [SPANS])
    for score, span in zip(scores, SPANS, strict=True):
        agree(score, slow_hybridgrad(model, PROMPT, RESPONSE, token=-4, span=span))


def test_a_score_does_not_hang_on_which_other_claims_are_asked_for():
    """Where the rotation of positions depends on the length of the pass, the pass is always the whole answer's."""
    factors = {"short_factor": [1.0] * 4, "long_factor": [4.0] * 4}
    rope = {"rope_type": "longrope", "rope_theta": 10000.0, "original_max_position_embeddings": 26, **factors}
    model = tiny_model("phi3", rope_parameters=rope, original_max_position_embeddings=26, max_position_embeddings=512)
    scorer = HybridGradScorer(model, semantic_token=-4)
    [[alone]] = scorer.score_spans([given_trace()], [[(0, 3)]])
    [[beside, _]] = scorer.score_spans([given_trace()], [[(0, 3), (0, 10)]])
    agree(alone, {part: getattr(beside, part) for part in PARTS}, rel=1e-6)
    agree(alone, slow_hybridgrad(model, PROMPT, RESPONSE, token=-4, span=(0, 3)))


@pytest.mark.parametrize("architecture", ["llama", "gemma2", "mixtral", "gpt2", "lfm2"])
def test_many_spans_after_generation(architecture):
    """More than one group, each with a forward pass that ends with it."""
    local = LocalModel(model_of(architecture), tiny_tokenizer())
    local.eos_ids = [383]
    scorer = HybridGradScorer(local)
    trace = replace(local.generate("What is it?", max_new_tokens=12, keep=scorer.keep), text="said")
    spans = [(5, 9), *((i, i + 1) for i in range(10)), (0, len(trace.response_ids))]
    [scores] = scorer.score_spans([trace], [spans])
    token = local.semantic_token.offset
    for score, span in zip(scores, spans, strict=True):
        agree(score, slow_hybridgrad(local.model, trace.prompt_ids, trace.response_ids, token=token, span=span))


@pytest.mark.parametrize("architecture", ["llama", "mixtral"])
def test_in_bfloat16_together_as_alone(architecture):
    model = tiny_model(architecture).to(torch.bfloat16)
    scorer = HybridGradScorer(model, semantic_token=-4)
    [together] = scorer.score_spans([given_trace()], [SPANS])
    for score, span in zip(together, SPANS, strict=True):
        [[alone]] = scorer.score_spans([given_trace()], [[span]])
        agree(score, {part: getattr(alone, part) for part in PARTS}, rel=0.02)


def test_gradients_of_float16_do_not_vanish():
    model = tiny_model("llama").to(torch.float16)
    scores = HybridGradScorer(model, semantic_token=-4).score_spans([given_trace()], [SPANS])[0]
    for score, span in zip(scores, SPANS, strict=True):
        agree(score, slow_hybridgrad(tiny_model("llama"), PROMPT, RESPONSE, token=-4, span=span), rel=0.05)


def test_an_unscorable_answer_has_unscorable_claims():
    scorer = HybridGradScorer(model_of("llama"), semantic_token=-4)
    trace = replace(given_trace(), prompt_truncated=True)
    scores = scorer.score_spans([trace], [[(0, 2), (2, 5)]])[0]
    assert [(s.unscored, s.length) for s in scores] == [("prompt_truncated", 2), ("prompt_truncated", 3)]


def test_no_spans_no_scores():
    scorer = HybridGradScorer(model_of("llama"), semantic_token=-4)
    assert scorer.score_spans([given_trace(), given_trace()], [[], []]) == [[], []]


@pytest.mark.parametrize("span", [(0, 0), (3, 2), (-1, 2), (0, 11), (11, 12)])
def test_a_span_outside_the_answer_is_refused(span):
    scorer = HybridGradScorer(model_of("llama"), semantic_token=-4)
    with pytest.raises(ScoringError, match=r"is empty or not within the response's 10 tokens"):
        scorer.score_spans([given_trace()], [[span]])


def test_the_model_is_left_as_it_was():
    model = tiny_model("llama")
    before = [
        (n, id(m), dict(m.__dict__.get("_forward_pre_hooks", {})), "forward" in m.__dict__)
        for n, m in model.named_modules()
    ]
    HybridGradScorer(model, semantic_token=-4).score_spans([given_trace()], [SPANS])
    after = [
        (n, id(m), dict(m.__dict__.get("_forward_pre_hooks", {})), "forward" in m.__dict__)
        for n, m in model.named_modules()
    ]
    assert before == after
    assert all(p.grad is None for p in model.parameters())
