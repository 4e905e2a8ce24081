"""Adapters and quantised weights: exact where the library lets gradients through, refused by name where it does not."""

from __future__ import annotations

import pytest
import torch
from test_against_reference import PROMPT, RESPONSE, agree

from guardrail.errors import UnsupportedModelError
from guardrail.scoring.hybridgrad import HybridGradScorer
from guardrail.testing import tiny_model
from tests.helpers.slow_reference import slow_hybridgrad


def lora(**options):
    from peft import LoraConfig

    return LoraConfig(r=4, target_modules=["q_proj", "v_proj", "down_proj"], init_lora_weights=False, **options)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model whose widths the quantising libraries accept."""
    path = tmp_path_factory.mktemp("model")
    tiny_model(hidden_size=64, intermediate_size=128, head_dim=16).save_pretrained(path)
    return path


def quantised(folder, config):
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(
        folder, quantization_config=config, device_map="cpu", dtype=torch.float32
    )


@pytest.mark.parametrize("wrapped", [True, False])
def test_lora_adapters_are_part_of_the_model(wrapped):
    plain, adapted = tiny_model(), tiny_model()
    if wrapped:
        from peft import get_peft_model

        adapted = get_peft_model(adapted, lora(lora_dropout=0.5)).eval()
    else:
        adapted.add_adapter(lora())
    score = HybridGradScorer(adapted, semantic_token=-4).score(PROMPT, RESPONSE)
    agree(score, slow_hybridgrad(adapted, PROMPT, RESPONSE, token=-4))
    assert score != HybridGradScorer(plain, semantic_token=-4).score(PROMPT, RESPONSE)


@pytest.mark.parametrize("weights", ["int8", "int4"])
def test_quanto_is_exact(folder, weights):
    from transformers import QuantoConfig

    model = quantised(folder, QuantoConfig(weights=weights))
    agree(
        HybridGradScorer(model, semantic_token=-4).score(PROMPT, RESPONSE),
        slow_hybridgrad(model, PROMPT, RESPONSE, token=-4),
    )


def test_bitsandbytes_8_bit_is_near(folder):
    """LLM.int8 rounds activations too, and by what else is in the batch: no two passes agree to the last digits."""
    from transformers import BitsAndBytesConfig

    model = quantised(folder, BitsAndBytesConfig(load_in_8bit=True))
    agree(
        HybridGradScorer(model, semantic_token=-4).score(PROMPT, RESPONSE),
        slow_hybridgrad(model, PROMPT, RESPONSE, token=-4),
        rel=0.1,
    )


def test_bitsandbytes_4_bit_is_exact_or_refused(folder):
    """On some processors its inference kernel hands no gradient on, without an error: SemGrad would be 0."""
    from transformers import BitsAndBytesConfig

    model = quantised(folder, BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_compute_dtype=torch.float32))
    try:
        scorer = HybridGradScorer(model, semantic_token=-4)
    except UnsupportedModelError:
        with pytest.raises(UnsupportedModelError, match="its Linear4bit layers give no correct gradient on cpu"):
            HybridGradScorer(model, semantic_token=-4)
        return
    agree(scorer.score(PROMPT, RESPONSE), slow_hybridgrad(model, PROMPT, RESPONSE, token=-4))


class NoGradient(torch.nn.Module):
    """A quantised layer of the kind that computes outside autograd."""

    def __init__(self, linear):
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.register_buffer("weight", linear.weight.detach().to(torch.float8_e4m3fn))
        self.dense = [linear.weight.detach()]

    def forward(self, x):
        return torch.nn.functional.linear(x.detach(), self.dense[0]) + 0 * x.sum()


def test_a_layer_without_a_gradient_is_refused():
    model = tiny_model()
    model.model.layers[3].mlp.down_proj = NoGradient(model.model.layers[3].mlp.down_proj)
    model.model.layers[3].mlp.down_proj.weight = model.model.layers[3].mlp.down_proj.weight.view(torch.uint8)
    with pytest.raises(UnsupportedModelError, match="its NoGradient layers give no correct gradient on cpu"):
        HybridGradScorer(model, semantic_token=-4)


def test_layers_on_several_devices_by_accelerate(folder, tmp_path):
    """`device_map` puts hooks on modules; layers kept on disk come in when they run. Scores do not change."""
    from accelerate import dispatch_model
    from transformers import AutoModelForCausalLM

    plain = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    expected = HybridGradScorer(plain, semantic_token=-4).score(PROMPT, RESPONSE)
    places = {"model.embed_tokens": "cpu", "model.norm": "cpu", "model.rotary_emb": "cpu", "lm_head": "cpu"}
    places |= {f"model.layers.{i}": "disk" if i in (0, 3) else "cpu" for i in range(4)}
    spread = dispatch_model(plain, places, main_device="cpu", offload_dir=tmp_path, force_hooks=True)
    score = HybridGradScorer(spread, semantic_token=-4).score(PROMPT, RESPONSE)
    assert score.hybridgrad == pytest.approx(expected.hybridgrad, rel=1e-5)
