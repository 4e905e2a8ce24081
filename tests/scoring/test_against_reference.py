"""The fast path gives the slow reference's numbers, for every architecture, with and without what generation kept."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from slow_reference import slow_hybridgrad

from guardrail.model.local import LocalModel
from guardrail.scoring.hybridgrad import HybridGradScorer
from guardrail.testing import ARCHITECTURES, tiny_model, tiny_tokenizer

PARTS = ("hybridgrad", "semgrad", "paragrad", "entropy", "nll")
PROMPT = [1, 7, 30, 41, 5, 99, 200, 17, 64, 33, 8, 150, 42, 6, 77, 21, 12, 90, 55, 301]  # longer than the windows of 8
RESPONSE = [140, 9, 260, 31, 2]


def agree(score, reference, rel=1e-4):
    assert {p: getattr(score, p) for p in PARTS} == pytest.approx({p: reference[p] for p in PARTS}, rel=rel)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_single(architecture):
    model = tiny_model(architecture)
    for token in (-4, -1, -20):
        score = HybridGradScorer(model, semantic_token=token).score(PROMPT, RESPONSE)
        agree(score, slow_hybridgrad(model, PROMPT, RESPONSE, token=token))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_batch_of_different_lengths(architecture):
    model = tiny_model(architecture)
    scorer = HybridGradScorer(model, semantic_token=-3)
    pairs = [(PROMPT, RESPONSE), (PROMPT[:6], [9]), (PROMPT[3:], RESPONSE * 3), (PROMPT[:3], RESPONSE[:2])]
    for (prompt, response), score in zip(pairs, scorer.score_batch(pairs), strict=True):
        agree(score, slow_hybridgrad(model, prompt, response, token=-3))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_after_generation(architecture):
    local = LocalModel(tiny_model(architecture), tiny_tokenizer())
    scorer = HybridGradScorer(local)
    traces = local.generate_batch(
        ["What is it?", "And why is it so, in a few words?"], max_new_tokens=6, keep=scorer.keep
    )
    assert all((t.state is not None) == local.anatomy.cached for t in traces)
    traces = [replace(t, text="said") for t in traces]  # a random model may say nothing but special tokens
    for trace, score in zip(traces, scorer.score_traces(traces), strict=True):
        agree(
            score,
            slow_hybridgrad(local.model, trace.prompt_ids, trace.response_ids, token=local.semantic_token.offset),
        )


@pytest.mark.parametrize("band", ["code", "text"])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_band_and_reduction(band, reduction):
    model = tiny_model("qwen3", num_hidden_layers=6)
    scorer = HybridGradScorer(model, semantic_token=-2, band=band, reduction=reduction)
    agree(
        scorer.score(PROMPT, RESPONSE),
        slow_hybridgrad(model, PROMPT, RESPONSE, token=-2, band=band, reduction=reduction),
    )


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("tied", [True, False])
def test_attention_and_tied_heads(attention, tied):
    model = tiny_model("llama", tie_word_embeddings=tied, attn_implementation=attention)
    assert (model.lm_head.weight is model.model.embed_tokens.weight) is tied
    agree(
        HybridGradScorer(model, semantic_token=-4).score(PROMPT, RESPONSE),
        slow_hybridgrad(model, PROMPT, RESPONSE, token=-4),
    )


def test_bfloat16_stays_near_float32():
    model = tiny_model("llama")
    reference = slow_hybridgrad(model, PROMPT, RESPONSE, token=-4)
    score = HybridGradScorer(model.to(torch.bfloat16), semantic_token=-4).score(PROMPT, RESPONSE)
    agree(score, reference, rel=0.05)


def test_exgrad_is_paragrad_without_entropy_weights():
    from guardrail.scoring.gradients import Row

    model = tiny_model("gemma2")
    scorer = HybridGradScorer(model, semantic_token=-4)
    readout = scorer.read([Row(PROMPT, RESPONSE)], [-4], 2, exgrad=True)[0]
    reference = slow_hybridgrad(model, PROMPT, RESPONSE, token=-4, weights="ones")
    assert readout.exgrad == pytest.approx(reference["paragrad"], rel=1e-4)
