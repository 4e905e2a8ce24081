"""A checkpoint that lacks weights, or has them in another shape, is refused by their names, never filled up at random."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from guardrail.errors import GuardrailError, ModelError, RetrievalError
from guardrail.model.loading import load_model
from guardrail.testing import tiny_model, tiny_tokenizer


def saved(folder, architecture="llama", **options):
    tiny_model(architecture, vocab_size=261, **options).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder


def change(folder, how, file="model.safetensors"):
    weights = load_file(folder / file)
    how(weights)
    save_file(weights, folder / file, metadata={"format": "pt"})


@pytest.mark.parametrize(
    "name",
    ["lm_head.weight", "model.norm.weight", "model.embed_tokens.weight", "model.layers.2.self_attn.q_proj.weight"],
)
def test_a_missing_weight_is_named(tmp_path, name):
    change(saved(tmp_path), lambda weights: weights.pop(name))
    with pytest.raises(ModelError, match=f"lacks {name}, which would be made up at random"):
        load_model(str(tmp_path), device="cpu")


@pytest.mark.parametrize(("architecture", "name"), [("gpt2", "transformer.h.1.attn.c_attn.bias"), ("qwen2", "bias")])
def test_a_missing_bias_is_named(tmp_path, architecture, name):
    def drop(weights):
        del weights[next(key for key in weights if key.endswith(name))]

    change(saved(tmp_path, architecture), drop)
    with pytest.raises(ModelError, match="bias, which would be made up at random"):
        load_model(str(tmp_path), device="cpu")


def test_many_missing_weights_are_counted(tmp_path):
    change(saved(tmp_path), lambda weights: [weights.pop(name) for name in list(weights) if ".mlp." in name])
    with pytest.raises(ModelError, match="and 8 more weights"):
        load_model(str(tmp_path), device="cpu")


def test_another_shape_is_named(tmp_path):
    def widen(weights):
        weights["model.layers.0.mlp.up_proj.weight"] = torch.zeros(50, 32)

    change(saved(tmp_path), widen)
    with pytest.raises(ModelError, match=r"layers\.0\.mlp\.up_proj\.weight in another shape"):
        load_model(str(tmp_path), device="cpu")


def test_a_tied_head_is_not_missing(tmp_path):
    folder = saved(tmp_path, tie_word_embeddings=True)
    assert "lm_head.weight" not in load_file(folder / "model.safetensors")
    first, second = (load_model(str(folder), device="cpu") for _ in range(2))
    assert first.identity == second.identity


@pytest.mark.parametrize("damage", ["shard", "index", "entry"])
def test_shards(tmp_path, damage):
    tiny_model(vocab_size=261).save_pretrained(tmp_path, max_shard_size="40KB")
    tiny_tokenizer().save_pretrained(tmp_path)
    assert load_model(str(tmp_path), device="cpu").anatomy
    index = tmp_path / "model.safetensors.index.json"
    if damage == "shard":
        sorted(tmp_path.glob("model-*.safetensors"))[1].unlink()
    elif damage == "index":
        index.write_text(index.read_text()[:80])
    else:
        told = json.loads(index.read_text())
        file = told["weight_map"].pop("model.norm.weight")
        index.write_text(json.dumps(told))
        change(tmp_path, lambda weights: weights.pop("model.norm.weight"), file)
    with pytest.raises(GuardrailError):
        load_model(str(tmp_path), device="cpu")


def test_a_checkpoint_with_more_layers_than_its_config_says(tmp_path):
    config = saved(tmp_path) / "config.json"
    told = json.loads(config.read_text())
    config.write_text(json.dumps({**told, "num_hidden_layers": 3, "layer_types": None}))
    with pytest.raises(ModelError, match=r"has model\.layers\.3\..*config.json has no layer"):
        load_model(str(tmp_path), device="cpu")
    config.write_text(json.dumps(told))
    change(tmp_path, lambda weights: weights.update(extra=torch.ones(2)))  # of another part, which is not ours to judge
    assert load_model(str(tmp_path), device="cpu").anatomy


@pytest.mark.parametrize("eos", ["2", ["2"], [[2]], 2.5, True, {"id": 2}])
def test_end_tokens_that_are_no_ids(tmp_path, eos):
    (saved(tmp_path) / "generation_config.json").write_text(json.dumps({"eos_token_id": eos}))
    with pytest.raises(GuardrailError, match="eos_token_id.* is a token id, or a list of ids|cannot load"):
        load_model(str(tmp_path), device="cpu").identity  # noqa: B018


@pytest.mark.parametrize("text", ["{", "[]", '{"eos_token_id": 1, "eos_token_id": 2}', "\xff"])
def test_a_generation_config_that_cannot_be_read_is_not_left_out(tmp_path, text):
    (saved(tmp_path) / "generation_config.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(ModelError, match=r"generation_config\.json (cannot be read|holds no JSON object)"):
        load_model(str(tmp_path), device="cpu")


@pytest.mark.parametrize("eos", [None, -1, 10**6, [], [-1, 10**6]])
def test_an_end_token_that_no_model_writes_pads_nothing(tmp_path, eos):
    (saved(tmp_path) / "generation_config.json").write_text(json.dumps({"eos_token_id": eos}))
    local = load_model(str(tmp_path), device="cpu")
    local.tokenizer.pad_token = None
    assert 0 <= local.pad_id < 261
    assert set(local.eos_ids) - {10**6} == {local.tokenizer.eos_token_id}  # the tokenizer's and the template's


def test_embedders_too(tmp_path):
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.models import Pooling, Transformer
    from transformers import BertConfig, BertModel

    from guardrail.retrieval.embedding import SentenceEmbeddings

    config = BertConfig(
        vocab_size=261, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16
    )
    inner, whole = tmp_path / "inner", tmp_path / "whole"
    BertModel(config).save_pretrained(inner)
    tiny_tokenizer().save_pretrained(inner)
    transformer = Transformer(str(inner))
    SentenceTransformer(modules=[transformer, Pooling(16)], device="cpu").save(str(whole))
    assert len(SentenceEmbeddings(str(whole)).embed_query("Lyon")) == 16
    change(whole, lambda weights: [weights.pop(name) for name in list(weights) if name.startswith("pooler.")])
    assert SentenceEmbeddings(str(whole))  # the mean over tokens does not read it
    name = "encoder.layer.0.output.dense.weight"
    change(whole, lambda weights: weights.pop(name))
    with pytest.raises(RetrievalError, match=f"lacks {name}"):
        SentenceEmbeddings(str(whole))
