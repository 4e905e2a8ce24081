"""Models of images and text are loaded for their text, and give its numbers; what cannot be scored is refused in words."""

from __future__ import annotations

import pytest
import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    AutoModelForSeq2SeqLM,
    LlamaConfig,
    LlamaForCausalLM,
)

from guardrail.errors import UnsupportedModelError
from guardrail.model.loading import load_model
from guardrail.model.local import LocalModel
from guardrail.scoring.hybridgrad import HybridGradScorer
from guardrail.testing import tiny_tokenizer

TEXT = {
    "vocab_size": 261, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 4, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": 256, "bos_token_id": 1, "eos_token_id": 2,
    "pad_token_id": 0, "initializer_range": 0.2, "tie_word_embeddings": False,
}  # fmt: skip
ROTATED = {**TEXT, "rope_parameters": {"rope_type": "default", "mrope_section": [1, 1, 2]}}
SEEING = {
    "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 16,
    "patch_size": 8,
}  # fmt: skip
TOKENS = {"image_token_id": 9, "video_token_id": 10, "vision_start_token_id": 11, "vision_end_token_id": 12}
QWEN = {"depth": 1, "hidden_size": 16, "num_heads": 2, "out_hidden_size": 32, "intermediate_size": 16}
FAMILIES = {
    "mistral3": {
        "text_config": {"model_type": "mistral", **TEXT},
        "vision_config": {"model_type": "pixtral", "head_dim": 8, **SEEING},
        "image_token_id": 9,
    },
    "qwen2_vl": {
        "text_config": ROTATED,
        "vision_config": {"depth": 1, "embed_dim": 16, "num_heads": 2, "hidden_size": 32},
        **TOKENS,
    },
    "qwen2_5_vl": {"text_config": ROTATED, "vision_config": QWEN, **TOKENS},
    "qwen3_vl": {"text_config": ROTATED, "vision_config": {**QWEN, "deepstack_visual_indexes": [0]}, **TOKENS},
    "llava": {
        "text_config": {"model_type": "llama", **TEXT},
        "vision_config": {"model_type": "clip_vision_model", **SEEING},
        "image_token_id": 9,
    },
    "smolvlm": {
        "text_config": {"model_type": "llama", **TEXT},
        "vision_config": SEEING,
        "image_token_id": 9,
        "scale_factor": 2,
    },
}


def saved(folder, family, kind=AutoModelForImageTextToText, **options):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = kind.from_config(AutoConfig.for_model(family, **options))
    model.save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return model


@pytest.mark.parametrize("family", FAMILIES)
def test_a_model_of_images_answers_and_is_scored(tmp_path, family):
    saved(tmp_path, family, **FAMILIES[family])
    local = load_model(str(tmp_path), device="cpu")
    assert local.generate("Who?", max_new_tokens=3).response_ids
    score = HybridGradScorer(local).score_traces([local.trace("Who?", "Lyon")])[0]
    assert score.value > 0


@pytest.mark.parametrize("family", ["llava", "smolvlm", "mistral3"])
def test_its_score_is_that_of_its_text_part(tmp_path, family):
    whole = saved(tmp_path, family, **FAMILIES[family])
    text = AutoModelForCausalLM.from_config(whole.config.get_text_config())
    text.model.load_state_dict((getattr(whole.model, "language_model", None) or whole.model.text_model).state_dict())
    text.lm_head.load_state_dict(whole.lm_head.state_dict())
    both = load_model(str(tmp_path), device="cpu"), LocalModel(text.eval(), tiny_tokenizer())
    found = [HybridGradScorer(x).score_traces([x.trace("Who?", "Lyon")])[0].value for x in both]
    assert found[0] == pytest.approx(found[1], rel=1e-4)


@pytest.mark.parametrize("family", ["t5", "bart"])
def test_an_encoder_decoder_is_refused_in_words(tmp_path, family):
    size = {"t5": {"d_model": 16, "d_ff": 16, "num_layers": 1, "num_heads": 2, "d_kv": 8},
            "bart": {"d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2,
                     "decoder_attention_heads": 2, "encoder_ffn_dim": 16, "decoder_ffn_dim": 16}}  # fmt: skip
    saved(tmp_path, family, AutoModelForSeq2SeqLM, vocab_size=261, **size[family])
    with pytest.raises(
        UnsupportedModelError, match=f"is an encoder-decoder \\({family}\\).*take a decoder-only chat model"
    ):
        load_model(str(tmp_path), device="cpu")


@pytest.mark.parametrize("kind", ["distilbert", "modernbert", "vit", "clip"])
def test_what_writes_no_text_is_refused_in_words(tmp_path, kind):
    AutoConfig.for_model(kind).save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    with pytest.raises(UnsupportedModelError, match=f"is no model that writes text.* its kind, {kind}; take a decoder"):
        load_model(str(tmp_path), device="cpu")


def test_a_kind_that_somebody_registered_is_taken(tmp_path):
    class Own(LlamaConfig):
        model_type = "a-kind-of-ones-own"

    class OwnForCausalLM(LlamaForCausalLM):
        config_class = Own

    AutoConfig.register(Own.model_type, Own)
    AutoModelForCausalLM.register(Own, OwnForCausalLM)
    saved(tmp_path, Own.model_type, AutoModelForCausalLM, **TEXT)
    assert load_model(str(tmp_path), device="cpu").generate("Who?", max_new_tokens=3).response_ids
