"""Cross-encoders and the bem grader, too, are refused by the names of weights that are missing or no numbers."""

from __future__ import annotations

import math

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import BertConfig, BertForSequenceClassification

from guardrail.errors import ModelError
from guardrail.grading.bem import BemGrader
from guardrail.testing import tiny_tokenizer
from guardrail.verification.nli import NliVerifier

NLI = {0: "entailment", 1: "contradiction", 2: "neutral"}
WEIGHT = "bert.encoder.layer.0.output.dense.weight"


def nli(folder):
    return NliVerifier(str(folder))._predict([("Lyon is old.", "Lyon is old.")])  # loads it


def bem(folder):
    return BemGrader(str(folder))._load()


def saved(folder, labels, change):
    size = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    BertForSequenceClassification(BertConfig(vocab_size=261, id2label=labels, **size)).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


CHANGES = {
    "lacks": lambda weights: weights.pop(WEIGHT),
    "another shape": lambda weights: weights.update({WEIGHT: torch.zeros(3, 16)}),
    "NaN or infinity": lambda weights: weights[WEIGHT].fill_(math.inf),
}


@pytest.mark.parametrize("says", CHANGES)
@pytest.mark.parametrize(("load", "labels"), [(nli, NLI), (bem, {0: "no", 1: "yes"})])
def test_it_is_refused_by_name(tmp_path, load, labels, says):
    saved(tmp_path, labels, CHANGES[says])
    with pytest.raises(ModelError) as error:
        load(tmp_path)
    assert says in str(error.value)
    assert WEIGHT in str(error.value)


@pytest.mark.parametrize(("load", "labels"), [(nli, NLI), (bem, {0: "no", 1: "yes"})])
def test_a_whole_one_loads(tmp_path, load, labels):
    saved(tmp_path, labels, lambda weights: None)
    assert load(tmp_path)
