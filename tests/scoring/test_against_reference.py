"""The fast path gives the slow reference's numbers, for every architecture, with and without what generation kept."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import torch

from guardrail.errors import UnsupportedModelError
from guardrail.model.local import LocalModel
from guardrail.scoring.hybridgrad import HybridGradScorer
from guardrail.testing import ARCHITECTURES, MORE_ARCHITECTURES, tiny_model, tiny_tokenizer
from tests.helpers.slow_reference import slow_hybridgrad

PARTS = ("hybridgrad", "semgrad", "paragrad", "entropy", "nll")
PROMPT = [1, 7, 30, 41, 5, 99, 200, 17, 64, 33, 8, 150, 42, 6, 77, 21, 12, 90, 55, 301]  # longer than the windows of 8
RESPONSE = [140, 9, 260, 31, 2]

TABLE = (Path(__file__).parents[2] / "docs" / "results" / "architectures.md").read_text(encoding="utf-8")
WAYS = {"in place": "exact, in place", "copied": "exact, copied", "none": "exact, whole prompt"}

model_of = cache(tiny_model)  # scoring leaves a model as it was
all_architectures = pytest.mark.parametrize("architecture", [*ARCHITECTURES, *MORE_ARCHITECTURES])


def agree(score, reference, rel=1e-4):
    assert {p: getattr(score, p) for p in PARTS} == pytest.approx({p: reference[p] for p in PARTS}, rel=rel)


@all_architectures
def test_single(architecture):
    model = model_of(architecture)
    for token in (-4, -20) if architecture in ARCHITECTURES else (-4,):
        score = HybridGradScorer(model, semantic_token=token).score(PROMPT, RESPONSE)
        reference = slow_hybridgrad(model, PROMPT, RESPONSE, token=token)
        if reference["semgrad"] == 0:  # the token lies out of sight, behind the windows: no number of the answer's
            assert score.unscored == "not_finite"
        else:
            agree(score, reference)
    way = HybridGradScorer(model, semantic_token=-4).anatomy.cache
    assert f"| {architecture} | {type(model).__name__} | {WAYS[way]} |" in TABLE


def test_the_table_has_no_other_rows():
    section = TABLE.split("| model type |")[1].split("\n\n")[0]
    rows = [line.split(" | ")[0].removeprefix("| ") for line in section.splitlines()[2:]]
    assert rows == [*ARCHITECTURES, *MORE_ARCHITECTURES]


@all_architectures
def test_batch_of_different_lengths(architecture):
    """Rows are padded on the left up to t*, on the right after it."""
    model = model_of(architecture)
    scorer = HybridGradScorer(model, semantic_token=-3)
    pairs = [(PROMPT, RESPONSE), (PROMPT[:6], [9]), (PROMPT[3:], RESPONSE * 3), (PROMPT[:3], RESPONSE[:2])]
    for (prompt, response), score in zip(pairs, scorer.score_batch(pairs), strict=True):
        agree(score, slow_hybridgrad(model, prompt, response, token=-3))


@all_architectures
def test_after_generation(architecture):
    """On the cache, the band's input, the head's and the linear layers' outputs of a left-padded batch."""
    local = LocalModel(model_of(architecture), tiny_tokenizer())
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
    alone = replace(local.generate("What is it?", max_new_tokens=6, keep=scorer.keep), text="said")
    agree(
        scorer.score_trace(alone),
        slow_hybridgrad(local.model, alone.prompt_ids, alone.response_ids, token=local.semantic_token.offset),
    )


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize(("attention", "tied"), [("eager", False), ("eager", True), ("sdpa", False), ("sdpa", True)])
def test_attention_and_tied_heads(architecture, attention, tied):
    try:
        model = tiny_model(architecture, tie_word_embeddings=tied, attn_implementation=attention)
    except ValueError as error:
        if "does not support an attention implementation" not in str(error):
            raise
        pytest.skip(f"transformers has no {attention} attention for {architecture}")  # gemma2, gpt_oss: eager only
    assert (model.get_output_embeddings().weight is model.get_input_embeddings().weight) is tied
    agree(
        HybridGradScorer(model, semantic_token=-4).score(PROMPT, RESPONSE),
        slow_hybridgrad(model, PROMPT, RESPONSE, token=-4),
    )


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_bfloat16_stays_near_float32(architecture):
    """Of the same rounded weights. Where routing to experts flips in bfloat16, another function is scored (gpt_oss)."""
    model = tiny_model(architecture).to(torch.bfloat16)
    score = HybridGradScorer(model, semantic_token=-4).score(PROMPT, RESPONSE)
    reference = slow_hybridgrad(model.float(), PROMPT, RESPONSE, token=-4)
    agree(score, reference, rel=0.3 if architecture == "gpt_oss" else 0.05)


@pytest.mark.parametrize("band", ["code", "text"])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_band_and_reduction(band, reduction):
    model = tiny_model("qwen3", num_hidden_layers=6)
    scorer = HybridGradScorer(model, semantic_token=-2, band=band, reduction=reduction)
    agree(
        scorer.score(PROMPT, RESPONSE),
        slow_hybridgrad(model, PROMPT, RESPONSE, token=-2, band=band, reduction=reduction),
    )


def test_exgrad_is_paragrad_without_entropy_weights():
    from guardrail.scoring.suffix import Row

    model = tiny_model("gemma2")
    scorer = HybridGradScorer(model, semantic_token=-4)
    readout = scorer.read([Row(PROMPT, RESPONSE)], [-4], 2, exgrad=True)[0]
    reference = slow_hybridgrad(model, PROMPT, RESPONSE, token=-4, weights="ones")
    assert readout.exgrad == pytest.approx(reference["paragrad"], rel=1e-4)


def test_rotation_by_length_runs_the_whole_prompt():
    """Long-RoPE takes other factors beyond its first context, for all positions of a pass at once."""
    rope = {
        "rope_type": "longrope",
        "short_factor": [1.0] * 4,
        "long_factor": [4.0, 3.0, 2.0, 5.0],
        "rope_theta": 1e4,
        "original_max_position_embeddings": 40,
        "factor": 6.4,
    }
    model = tiny_model("phi3", original_max_position_embeddings=40, rope_parameters=rope, sliding_window=None)
    scorer = HybridGradScorer(model, semantic_token=-4)
    assert scorer.anatomy.cache == "none"
    pairs = [(list(range(3, 3 + P)), [9] * 8) for P in (38, 42, 20)]
    for (prompt, response), score in zip(pairs, scorer.score_batch(pairs), strict=True):
        agree(score, slow_hybridgrad(model, prompt, response, token=-4))


def said(local, scorer, **options):
    return replace(local.generate("What is it?", max_new_tokens=6, keep=scorer.keep, **options), text="x")


def test_a_hook_of_somebody_elses_acts_once():
    model = tiny_model()
    model.model.layers[3].mlp.down_proj.register_forward_hook(lambda _, args, output: output * 2)
    local = LocalModel(model, tiny_tokenizer())
    scorer = HybridGradScorer(local)
    trace = said(local, scorer)
    assert "3.mlp.up_proj" in trace.state.linear_outputs
    assert "3.mlp.down_proj" not in trace.state.linear_outputs
    expected = slow_hybridgrad(model, trace.prompt_ids, trace.response_ids, token=local.semantic_token.offset)
    agree(scorer.score_trace(trace), expected)


def test_a_hook_on_the_head_is_refused():
    model = tiny_model()
    model.lm_head.register_forward_hook(lambda _, args, output: output * 2)
    with pytest.raises(UnsupportedModelError, match="its logits are not its LM head applied"):
        HybridGradScorer(model, semantic_token=-4)


@pytest.mark.parametrize("change", ["training", "adapter", "another model"])
def test_what_other_weights_kept_is_not_used(change):
    from peft import LoraConfig, get_peft_model

    model = tiny_model()
    if change == "adapter":
        config = LoraConfig(r=4, target_modules=["q_proj", "up_proj"], init_lora_weights=False)
        model = get_peft_model(model, config).eval()
    local = LocalModel(model, tiny_tokenizer())
    scorer = HybridGradScorer(local)
    trace = said(local, scorer)
    if change == "training":
        with torch.no_grad():
            model.model.layers[2].mlp.up_proj.weight.mul_(1.5)
    if change == "another model":
        model = tiny_model(seed=1)
        scorer = HybridGradScorer(LocalModel(model, tiny_tokenizer()))
    token = local.semantic_token.offset
    if change == "adapter":
        with model.disable_adapter():
            agree(scorer.score_trace(trace), slow_hybridgrad(model, trace.prompt_ids, trace.response_ids, token=token))
    agree(scorer.score_trace(trace), slow_hybridgrad(model, trace.prompt_ids, trace.response_ids, token=token))


@pytest.mark.parametrize(
    ("architecture", "options"), [("falcon_h1", {"lm_head_multiplier": 0.02}), ("granite", {"logits_scaling": 0.5})]
)
def test_scaled_logits(architecture, options):
    model = tiny_model(architecture, **options)
    agree(
        HybridGradScorer(model, semantic_token=-4).score(PROMPT, RESPONSE),
        slow_hybridgrad(model, PROMPT, RESPONSE, token=-4),
    )
