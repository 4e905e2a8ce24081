"""Where a model's parts are, and what its head does: by hand on tiny models."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from guardrail.errors import UnsupportedModelError
from guardrail.model.anatomy import read_anatomy
from guardrail.testing import tiny_model


def test_the_parts_of_a_llama():
    model = tiny_model()
    found = read_anatomy(model)
    assert found.architecture == "LlamaForCausalLM"
    assert (found.decoder, found.layers, found.head) == (model.model, model.model.layers, model.lm_head)
    assert (found.scale, found.softcap, found.context) == (1.0, None, 256)
    assert (found.cache, found.cached, found.head_kind) == ("in place", True, "linear")


def test_logits_are_scaled_and_then_capped():
    head = nn.Linear(2, 2, bias=False)
    head.weight.data = torch.tensor([[1.0, 0.0], [0.0, 4.0]])
    found = replace(read_anatomy(tiny_model()), head=head, scale=0.5)
    hidden = torch.tensor([2.0, 3.0])
    assert found.logits(hidden).tolist() == [1.0, 6.0]  # 0.5 * (2, 12)
    assert found.head_kind == "linear, logits scaled by 0.5"
    capped = replace(found, softcap=2.0)
    assert capped.logits(hidden).tolist() == pytest.approx([0.924234, 1.990109])  # 2 tanh(0.5), 2 tanh(3)
    assert capped.head_kind == "linear, logits scaled by 0.5, soft-capped at 2"


@pytest.mark.parametrize(("scaling", "kind"), [(4.0, "linear, logits scaled by 0.25"), (1.0, "linear")])
def test_granite_divides_its_logits(scaling, kind):
    assert read_anatomy(tiny_model("granite", logits_scaling=scaling)).head_kind == kind


def test_logits_that_are_something_else_are_refused_by_name():
    model = tiny_model()
    model.lm_head.register_forward_hook(lambda _, __, logits: logits + torch.arange(logits.shape[-1]))
    with pytest.raises(
        UnsupportedModelError, match="LlamaForCausalLM cannot be scored: its logits are not its LM head"
    ):
        read_anatomy(model)


def test_a_layer_that_runs_twice_is_refused():
    model = tiny_model()
    model.model.layers[1] = model.model.layers[0]
    with pytest.raises(UnsupportedModelError, match="one of its layers runs more than once"):
        read_anatomy(model)


def test_what_is_no_language_model_is_refused():
    with pytest.raises(UnsupportedModelError, match="Linear is not a transformers causal language model"):
        read_anatomy(nn.Linear(2, 2))
