"""A folder with an adapter alone is loaded with its base; where that cannot be, it says why."""

from __future__ import annotations

import json
import sys

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file

from guardrail.errors import MissingExtraError, ModelError, ModelNotFoundError
from guardrail.model.loading import load_model
from guardrail.scoring.hybridgrad import HybridGradScorer
from guardrail.testing import tiny_model, tiny_tokenizer


@pytest.fixture
def folders(tmp_path):
    """The base's folder, the adapter's, and the adapted module."""
    base, adapter = tmp_path / "base", tmp_path / "adapter"
    model = tiny_model(vocab_size=261)
    model.save_pretrained(base)
    tiny_tokenizer().save_pretrained(base)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        adapted = get_peft_model(model, LoraConfig(r=2, target_modules=["v_proj"], init_lora_weights=False))
    adapted.save_pretrained(adapter)
    told(adapter, base_model_name_or_path=str(base))
    return base, adapter, adapted


def told(adapter, **values):
    file = adapter / "adapter_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **values}))


def test_it_is_loaded_with_its_base(folders):
    base, adapter, adapted = folders
    local = load_model(str(adapter), device="cpu")
    ids = torch.tensor([[1, 2, 3]])
    with torch.no_grad():
        assert torch.allclose(local.model(input_ids=ids).logits, adapted(input_ids=ids).logits, atol=1e-5)
    plain = load_model(str(base), device="cpu")
    assert local.identity.weights != plain.identity.weights
    assert local.identity == load_model(str(adapter), device="cpu").identity
    score, other = (HybridGradScorer(x).score_traces([x.trace("Who?", "Lyon")])[0].value for x in (local, plain))
    assert score != pytest.approx(other, rel=1e-3)


def test_an_adapter_that_does_not_name_its_base(folders):
    told(folders[1], base_model_name_or_path=None)
    with pytest.raises(ModelError, match="does not name its base model; set base_model_name_or_path"):
        load_model(str(folders[1]), device="cpu")


def test_an_adapter_of_itself(folders):
    told(folders[1], base_model_name_or_path=str(folders[1]))
    with pytest.raises(ModelError, match="names another adapter as its base"):
        load_model(str(folders[1]), device="cpu")


def test_an_adapter_of_another_model(folders, tmp_path):
    tiny_model(vocab_size=261, hidden_size=64).save_pretrained(tmp_path / "other")
    tiny_tokenizer().save_pretrained(tmp_path / "other")
    told(folders[1], base_model_name_or_path=str(tmp_path / "other"))
    with pytest.raises(ModelError, match="does not fit its base model"):
        load_model(str(folders[1]), device="cpu")


def test_an_adapter_that_lacks_a_weight(folders):
    file = folders[1] / "adapter_model.safetensors"
    weights = load_file(file)
    del weights[sorted(weights)[0]]
    save_file(weights, file)
    with pytest.raises(ModelError, match="lacks .*lora"):
        load_model(str(folders[1]), device="cpu")


def test_an_adapter_of_a_deeper_model(folders):
    file = folders[1] / "adapter_model.safetensors"
    weights = load_file(file)
    name = sorted(weights)[0]
    save_file({**weights, name.replace("layers.0", "layers.9"): weights[name].clone()}, file)
    with pytest.raises(ModelError, match=r"has .*layers\.9.*, for which its base model has no place"):
        load_model(str(folders[1]), device="cpu")


def test_an_adapters_damaged_tokenizer(folders):
    (folders[1] / "tokenizer_config.json").write_text("{")
    with pytest.raises(ModelNotFoundError, match="cannot load .*adapter"):
        load_model(str(folders[1]), device="cpu")


def test_an_adapter_without_safetensors(folders):
    (folders[1] / "adapter_model.safetensors").unlink()
    with pytest.raises(ModelNotFoundError, match="no adapter_model.safetensors"):
        load_model(str(folders[1]), device="cpu")


def test_without_peft(folders, monkeypatch):
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(MissingExtraError, match="pip install peft"):
        load_model(str(folders[1]), device="cpu")
