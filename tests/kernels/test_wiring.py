"""What our own passes put on a module never counts as a change of it, and what others change does."""

from __future__ import annotations

import functools
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from guardrail.kernels.frozen import on_input, untouched, wiring
from guardrail.kernels.wiring import changes, wiring_of
from guardrail.scoring.hybridgrad import HybridGradScorer
from guardrail.testing import tiny_local_model, tiny_model

FAMILIES = ["llama", "gpt2", "gemma2", "mixtral", "lfm2", "gpt_oss", "recurrent_gemma", "rwkv"]


@pytest.mark.parametrize("family", FAMILIES)
def test_generating_and_scoring_change_nothing(family):
    local = tiny_local_model(family)
    scorer = HybridGradScorer(local)  # some write settings at their first pass, which it has
    before = wiring_of(local.model)
    scorer.score_traces(local.generate_batch(["Hi", "Where is Lyon? " * 12], max_new_tokens=3, keep=scorer.keep))
    assert changes(before, wiring_of(local.model)) == []


def test_hooks_of_ours_are_none_while_they_are_on():
    model = tiny_model()
    before = wiring_of(model)
    with untouched(model, watched=True) as stack:
        on_input(stack, model.model.layers[0], lambda _: None)
        assert wiring(model) == before
        assert changes(before, wiring_of(model)) == ["hooks"]
        with untouched(model, watched=True):
            assert wiring(model) == before
        assert wiring(model) == before
    assert wiring(model) == before == wiring_of(model)


def test_a_thread_that_looks_while_others_generate():
    local = tiny_local_model()
    scorer = HybridGradScorer(local)
    before = wiring(local.model)

    def work(i):
        if i % 2:
            scorer.score_traces(local.generate_batch(["Hi"], max_new_tokens=3, keep=scorer.keep))
            return []
        with local.lock:
            return changes(before, wiring(local.model))

    with ThreadPoolExecutor(8) as pool:
        assert not any(pool.map(work, range(60)))


@pytest.mark.parametrize("rope", ["dynamic", "longrope"])
def test_buffers_that_a_long_text_makes_anew_are_no_change(rope):
    factors = {"short_factor": [1.0] * 4, "long_factor": [2.0] * 4} if rope == "longrope" else {}
    size = tiny_model().config
    width = size.hidden_size // size.num_attention_heads // 2
    factors = {name: found[:1] * width for name, found in factors.items()}
    model = tiny_model(
        rope_parameters={"rope_type": rope, "rope_theta": 10000.0, "factor": 2.0, **factors,
                         "original_max_position_embeddings": 16},
        max_position_embeddings=32,
    )  # fmt: skip
    before = wiring_of(model)
    with torch.no_grad():
        model(torch.ones((1, 60), dtype=torch.long))
    assert changes(before, wiring_of(model)) == []


@pytest.mark.parametrize(
    ("function", "other"),
    [(torch.relu, torch.tanh), (functools.partial(torch.add, 1), functools.partial(torch.add, 2)), (len, max)],
)
def test_a_function_or_a_list_that_a_part_holds(function, other):
    model = tiny_model()
    part = model.model.layers[0]
    part.activation, part.sizes = function, {"first": [1, 2]}
    before = wiring_of(model)
    part.sizes["first"][1] = 3
    assert changes(before, wiring_of(model)) == ["settings of parts"]
    part.sizes["first"][1] = 2
    part.activation = other
    assert changes(before, wiring_of(model)) == ["functions of parts"]
    part.activation = function
    assert changes(before, wiring_of(model)) == []
