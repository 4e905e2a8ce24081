"""The state at a prompt's end: from generation, from a pass of its own, and from the pass that keeps all layers."""

from __future__ import annotations

import numpy as np
import pytest

from guardrail.model.prompt_states import prompt_states
from guardrail.model.question_states import kept_state, middle_layer, states_entering, states_of
from guardrail.model.recording import Keep
from guardrail.testing import ARCHITECTURES, MORE_ARCHITECTURES, tiny_local_model

LOCAL = tiny_local_model()
PROMPTS = [LOCAL.encode_prompt(text) for text in ("Who?", "Who wrote Faust, and when was that?", "x" * 90, "Who?")]


@pytest.mark.parametrize("layer", range(len(LOCAL.anatomy.layers)))
def test_it_is_the_last_token_of_the_pass_that_keeps_all_layers(layer):
    found = states_entering(LOCAL, PROMPTS, layer)
    reference = prompt_states(LOCAL, PROMPTS, [-1])[:, layer, 0].numpy()
    np.testing.assert_allclose(found, reference, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("architecture", [*ARCHITECTURES, *MORE_ARCHITECTURES])
def test_every_architecture_gives_it_alone_in_a_batch_and_from_generation(architecture):
    local = tiny_local_model(architecture)
    layer, prompts = middle_layer(local), [local.encode_prompt(text) for text in ("Who?", "Who wrote Faust, and when?")]
    alone = states_entering(local, prompts[:1], layer)[0]
    np.testing.assert_allclose(states_entering(local, prompts, layer)[0], alone, rtol=1e-3, atol=1e-4)
    (kept,) = states_of(local, [local.generate("Who?", max_new_tokens=2, keep=Keep(layer, -3))], layer)
    np.testing.assert_allclose(kept, alone, rtol=1e-3, atol=1e-4)


def test_generation_has_kept_it():
    layer = middle_layer(LOCAL)
    for trace in LOCAL.generate_batch(["Who?", "Who wrote Faust?"], max_new_tokens=5, keep=Keep(layer, -3)):
        expected = states_entering(LOCAL, [trace.prompt_ids], layer)[0]
        np.testing.assert_allclose(kept_state(trace, layer), expected, rtol=1e-4, atol=1e-5)


def test_another_layer_or_nothing_was_kept():
    layer = middle_layer(LOCAL)
    assert kept_state(LOCAL.generate("Who?", max_new_tokens=2), layer) is None
    assert kept_state(LOCAL.generate("Who?", max_new_tokens=2, keep=Keep(layer - 1, -3)), layer) is None


def test_a_prompt_beyond_the_context_has_none_and_the_others_have():
    long = [5] * (LOCAL.anatomy.context + 1)
    found = states_entering(LOCAL, [long, PROMPTS[0]], 1)
    assert np.isnan(found[0]).all()
    np.testing.assert_array_equal(found[1], states_entering(LOCAL, PROMPTS[:1], 1)[0])
    assert states_entering(LOCAL, [], 1).shape == (0, LOCAL.anatomy.head.in_features)


def test_the_model_is_left_as_it_was():
    before = [len(m._forward_pre_hooks) for m in LOCAL.model.modules()]
    states_entering(LOCAL, PROMPTS, 1)
    assert [len(m._forward_pre_hooks) for m in LOCAL.model.modules()] == before
