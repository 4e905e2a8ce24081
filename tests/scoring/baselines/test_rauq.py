"""RAUQ against its formula worked out by hand, and the attention that it reads against the model's own."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from guardrail.errors import ScoringError, UnsupportedModelError
from guardrail.scoring.baselines.g_nll import answer_log_probs
from guardrail.scoring.baselines.rauq import Rauq, rauq
from guardrail.testing import tiny_local_model


def test_the_formula_by_hand():
    """c = 0.5, then 0.2 x 0.5 + 0.8 x a x 0.5: with a = 1 again 0.5, with a = 0 only 0.1; the surer head hands on."""
    p = np.log([0.5, 0.5])
    assert rauq(p, [[[9.0, 1.0]]]) == pytest.approx(math.log(2))
    assert rauq(p, [[[9.0, 0.0]]]) == pytest.approx(-(math.log(0.5) + math.log(0.1)) / 2)
    assert rauq(p, [[[9.0, 0.0], [0.0, 1.0]]]) == pytest.approx(math.log(2)), "the head that gives most"
    assert rauq(p, [[[0, 1.0]], [[0, 0.5]]]) == pytest.approx(-(math.log(0.5) + math.log(0.3)) / 2), (
        "the least sure layer"
    )
    assert rauq(np.log([0.25]), [[[math.nan]]]) == pytest.approx(math.log(4)), "one token has none before it"
    assert rauq(np.log([0.5, 0.25, 0.5]), [[[0, 0.5, 1.0]]], alpha=0.5) == pytest.approx(
        -(math.log(0.5) + math.log(0.25) + math.log(0.375)) / 3
    )
    assert math.isinf(rauq([-math.inf], [[[0.0]]]))
    assert math.isnan(rauq(np.log([0.5, 0.5]), [[[0.0, math.nan]]]))


@pytest.mark.parametrize("architecture", ["llama", "qwen3", "gemma2", "gpt_oss", "gpt2", "phi3", "mistral", "olmo2"])
def test_what_it_reads_is_the_models_own_attention(architecture):
    """Kept or not; sliding windows, soft caps, sinks and grouped queries too."""
    local = tiny_local_model(architecture)
    scorer = Rauq(local)
    trace = local.generate("Who is who?", max_new_tokens=6, keep=scorer.keep)
    if len(trace.response_ids) < 3:
        trace = local.trace("Who is who?", "abcdef")
    P, T = len(trace.prompt_ids), len(trace.response_ids)
    kept, fresh = scorer.attention(trace), scorer.attention(replace(trace, state=None))
    local.model.set_attn_implementation("eager")
    with torch.no_grad():
        own = local.model(torch.tensor([[*trace.prompt_ids, *trace.response_ids]]), output_attentions=True).attentions
    at = torch.arange(P, P + T - 1)
    expected = torch.stack([own[layer][0][:, at, at - 1] for layer in scorer.layers]).numpy()
    assert kept.shape == (len(scorer.layers), local.model.config.num_attention_heads, T)
    assert np.isnan(kept[..., -1]).all()
    for found in (kept, fresh):
        assert found[..., :-1] == pytest.approx(expected, abs=1e-5)


def test_the_score_is_the_formula_on_what_the_model_gives_and_leaves_it_as_it_was():
    local = tiny_local_model()
    scorer = Rauq(local, alpha=0.3)
    before = local.model.config._attn_implementation
    traces = local.generate_batch(["Who?", "What is a lake?"], max_new_tokens=6, keep=scorer.keep)
    for trace, score in zip(traces, scorer.score_traces(traces), strict=True):
        read = len(trace.response_ids) - 1
        expected = rauq(answer_log_probs(local, trace)[:read], scorer.attention(trace)[..., :read], 0.3)
        assert score.value == pytest.approx(expected)
        assert score == scorer.score_traces([trace])[0]
    single = local.trace("Who?", "a")
    single = replace(single, response_ids=single.response_ids[:1])
    assert scorer.score_traces([single])[0].value == pytest.approx(-answer_log_probs(local, single)[0], rel=1e-6)
    assert local.model.config._attn_implementation == before
    assert not any(p.requires_grad and p.grad is not None for p in local.model.parameters())


def test_what_cannot_be_seen_is_refused():
    with pytest.raises(UnsupportedModelError, match="runs attention of its own, whose weights cannot be seen"):
        Rauq(tiny_local_model("falcon"))
    with pytest.raises(ScoringError, match=r"alpha is 1.0; it must be in \(0, 1\)"):
        Rauq(tiny_local_model(), alpha=1.0)
