"""What hands on no gradient, or a part of it, is refused at load; an exact 0 that comes later is never a number."""

from __future__ import annotations

import pytest
import torch
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from guardrail.errors import UnsupportedModelError
from guardrail.scoring.baselines.exgrad import ExGrad
from guardrail.scoring.baselines.paragrad import ParaGrad
from guardrail.scoring.baselines.semgrad import SemGrad
from guardrail.scoring.hybridgrad import HybridGradScorer
from guardrail.testing import tiny_local_model, tiny_model

PROMPT, RESPONSE = [1, 7, 30, 41, 5, 99], [140, 9, 2]


def detach(module):
    module.register_forward_hook(lambda _, __, output: output.detach())


def detach_one_head(layer):
    def hook(_, __, output):
        return torch.cat([output[..., :8].detach(), output[..., 8:]], dim=-1)

    layer.self_attn.v_proj.register_forward_hook(hook)


CUTS = {
    "queries": lambda layer: detach(layer.self_attn.q_proj),
    "keys": lambda layer: detach(layer.self_attn.k_proj),
    "values": lambda layer: detach(layer.self_attn.v_proj),
    "one head": detach_one_head,
    "attention": lambda layer: detach(layer.self_attn.o_proj),
    "no_grad": lambda layer: setattr(layer.self_attn, "forward", torch.no_grad()(layer.self_attn.forward)),
    "MLP": lambda layer: detach(layer.mlp),
    "what enters": lambda layer: layer.register_forward_pre_hook(lambda _, args: (args[0].detach(), *args[1:])),
}


@pytest.mark.parametrize("index", [2, 3])
@pytest.mark.parametrize("cut", CUTS)
def test_a_layer_that_detaches_is_refused_by_its_number(cut, index):
    model = tiny_model()
    CUTS[cut](model.model.layers[index])
    if cut == "queries":  # a prompt token acts on later ones through keys and values alone: nothing is lost
        assert HybridGradScorer(model, semantic_token=-4).score(PROMPT, RESPONSE).unscored is None
        return
    shown = index - 1 if cut == "what enters" and index == 3 else index
    if (cut, index) == ("what enters", 2):  # below the band: its graph starts there
        assert HybridGradScorer(model, semantic_token=-4).score(PROMPT, RESPONSE).unscored is None
        return
    with pytest.raises(UnsupportedModelError, match=f"layer {shown} hands on no correct gradient"):
        HybridGradScorer(model, semantic_token=-4)


@pytest.mark.parametrize("architecture", ["llama", "mixtral", "gemma2", "gpt2"])
def test_half_precision_refuses_what_is_cut_off_whole_and_nothing_else(architecture):
    assert HybridGradScorer(tiny_model(architecture).bfloat16(), semantic_token=-4)
    model = tiny_model(architecture).bfloat16()
    name = "attn.c_proj" if architecture == "gpt2" else "self_attn.o_proj"
    detach(next(module for path, module in reversed(list(model.named_modules())) if path.endswith(name)))
    with pytest.raises(UnsupportedModelError, match="layer 3 hands on no correct gradient"):
        HybridGradScorer(model, semantic_token=-4)


def test_an_attention_function_that_detaches():
    AttentionInterface.register("detached", lambda *a, **k: (sdpa_attention_forward(*a, **k)[0].detach(), None))
    recurrent = tiny_model("lfm2")  # scored by its own attention
    recurrent.config._attn_implementation = "detached"
    with pytest.raises(UnsupportedModelError, match="attn_implementation"):
        SemGrad(wrapped(recurrent), semantic_token=-4)
    plain, custom = tiny_model(), tiny_model()  # scored by ours, whose gradients are exact
    custom.config._attn_implementation = "detached"
    scores = [HybridGradScorer(m, semantic_token=-4).score(PROMPT, RESPONSE).value for m in (plain, custom)]
    assert scores[0] == pytest.approx(scores[1], rel=1e-5)


def wrapped(model):
    from guardrail.model.local import LocalModel
    from guardrail.testing import tiny_tokenizer

    return LocalModel(model, tiny_tokenizer())


def test_a_hook_that_comes_later_is_found_before_the_next_score():
    model = tiny_model()
    scorer = HybridGradScorer(model, semantic_token=-4)
    assert scorer.score(PROMPT, RESPONSE).unscored is None
    hook = model.model.layers[3].self_attn.v_proj.register_forward_hook(lambda _, __, output: output.detach())
    with pytest.raises(UnsupportedModelError):
        scorer.score(PROMPT, RESPONSE)
    hook.remove()
    assert scorer.score(PROMPT, RESPONSE).unscored is None


@pytest.mark.parametrize("scorer", [SemGrad, ParaGrad, ExGrad, HybridGradScorer])
def test_logits_that_leave_no_doubt_at_all_are_no_number(scorer):
    """Overflowing logits: every entropy and gradient is exactly 0, which would be the surest score of all."""
    local = tiny_local_model()
    with torch.no_grad():
        local.model.lm_head.weight.mul_(1e6)
    [score] = scorer(local).score_traces([local.trace("What?", "Lyon")])
    assert score.number is None
    assert score.unscored == "not_finite"
    assert "exactly 0" in score.detail
