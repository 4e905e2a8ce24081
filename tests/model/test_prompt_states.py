"""Hidden states of prompts' last tokens: those of transformers itself, alone or in a batch, for every architecture."""

from __future__ import annotations

import pytest
import torch

from guardrail.errors import ModelError
from guardrail.model.prompt_states import prompt_states
from guardrail.testing import ARCHITECTURES, MORE_ARCHITECTURES, tiny_local_model

OFFSETS = range(-6, 0)
USUAL = ["llama", "mistral", "gemma2", "phi3", "gpt_oss", "gpt2", "mixtral", "lfm2", "falcon_h1"]
OTHERS = sorted({*ARCHITECTURES, *MORE_ARCHITECTURES} - set(USUAL))
NORMS = {"llama": "norm", "gpt2": "ln_f", "gpt_neox": "final_layer_norm"}


def prompts(count=4, begin=10):
    """Different lengths, the same first `begin` tokens."""
    generator = torch.Generator().manual_seed(3)
    head = torch.randint(3, 380, (begin,), generator=generator).tolist()
    return [head + torch.randint(3, 380, (6 + 3 * i,), generator=generator).tolist() for i in range(count)]


@pytest.mark.parametrize("architecture", [*USUAL, *(pytest.param(name, marks=pytest.mark.slow) for name in OTHERS)])
def test_a_batch_gives_what_each_prompt_gives_alone(architecture):
    local, rows = tiny_local_model(architecture), prompts()
    together = prompt_states(local, rows, OFFSETS)
    assert together.shape == (len(rows), len(local.anatomy.layers) + 1, len(OFFSETS), local.anatomy.head.in_features)
    for row, states in zip(rows, together, strict=True):
        torch.testing.assert_close(prompt_states(local, [row], OFFSETS)[0], states, rtol=2e-4, atol=2e-5)


@pytest.mark.parametrize("architecture", ["llama", "gemma2", "gpt2", "lfm2"])
def test_the_states_are_those_that_transformers_gives(architecture):
    local, rows = tiny_local_model(architecture), prompts()
    for row, states in zip(rows, prompt_states(local, rows, OFFSETS), strict=True):
        with torch.no_grad():
            expected = local.model(torch.tensor([row]), output_hidden_states=True).hidden_states
        for ours, theirs in zip(states[:-1], expected[:-1], strict=True):  # its last one is behind the final norm
            torch.testing.assert_close(ours, theirs[0, -6:], rtol=2e-4, atol=2e-5)


@pytest.mark.parametrize("architecture", NORMS)
def test_the_last_state_is_what_the_final_norm_reads(architecture):
    local, rows = tiny_local_model(architecture), prompts()
    norm = getattr(local.anatomy.decoder, NORMS[architecture])
    with torch.no_grad():
        for row, states in zip(rows, prompt_states(local, rows, OFFSETS), strict=True):
            expected = local.anatomy.decoder(input_ids=torch.tensor([row])).last_hidden_state[0, -6:]
            torch.testing.assert_close(norm(states[-1]), expected, rtol=2e-4, atol=2e-5)


def test_what_prompts_share_runs_once():
    local, rows, seen = tiny_local_model(), prompts(begin=40), []
    handle = local.anatomy.layers[0].register_forward_hook(lambda _m, args, _o: seen.append(args[0].shape[:2]))
    prompt_states(local, rows, OFFSETS)
    handle.remove()
    assert seen == [(1, 40), (4, 15)]
    same = [rows[0], rows[0]]
    torch.testing.assert_close(*prompt_states(local, same, OFFSETS))


def test_the_model_is_left_as_it_was():
    local = tiny_local_model()
    local.model.train()
    prompt_states(local, prompts(), OFFSETS)
    assert local.model.training
    assert not any(layer._forward_hooks or layer._forward_pre_hooks for layer in local.anatomy.layers)


def test_prompts_that_are_too_short_or_too_long():
    local = tiny_local_model()
    with pytest.raises(ModelError, match="a prompt of 5 tokens has no token at -6"):
        prompt_states(local, [[3] * 5], OFFSETS)
    with pytest.raises(ModelError, match="a prompt of 257 tokens does not fit into the context of 256"):
        prompt_states(local, [[3] * 257], OFFSETS)
