"""What generation keeps is what a forward pass over the same tokens gives, row by row, and no more than fits."""

from __future__ import annotations

from contextlib import ExitStack

import pytest
import torch

from guardrail.kernels.frozen import untouched
from guardrail.model.recording import Keep, Recording
from guardrail.testing import tiny_local_model

ROW, RESPONSE = [5, 6, 7, 8], [30, 31, 2]


def record(local, keep, pause=False):
    """The model run as generation does: the prompt, then a token at a time."""
    with torch.no_grad(), untouched(local.model) as stack:
        recording = Recording(local, [ROW], len(RESPONSE), keep)
        recording.listen(stack)
        for ids in (ROW, RESPONSE[:1], RESPONSE[1:2]):
            local.model(input_ids=torch.tensor([ids]), past_key_values=recording.cache, use_cache=True)
            if pause:
                with recording.paused():
                    local.model(input_ids=torch.tensor([[9, 9]]))
    return recording


@pytest.mark.parametrize("pause", [False, True])
def test_states_are_those_of_one_forward_pass(pause):
    local = tiny_local_model()
    [state] = record(local, Keep(2, -3), pause).states([RESPONSE])
    with torch.no_grad():
        whole = local.model(torch.tensor([ROW + RESPONSE[:-1]]), output_hidden_states=True, use_cache=True)
    assert (state.ids, state.band_layer, state.first) == ((*ROW, *RESPONSE), 2, 1)
    torch.testing.assert_close(state.band_states, whole.hidden_states[2][0, 1:])
    torch.testing.assert_close(state.head_outputs, whole.logits[0, 3:])
    for mine, layer in zip(state.cache_keys, whole.past_key_values.layers[2:], strict=True):
        torch.testing.assert_close(mine, layer.keys)
    assert state.linear_outputs["2.mlp.up_proj"].shape == (5, 48)  # three prompt tokens, two that predict the others
    assert len(state.linear_outputs) == 14  # 7 in each of the layers 2 and 3


def test_a_prompt_shorter_than_the_offset_keeps_nothing():
    [state] = record(tiny_local_model(), Keep(2, -4)).states([RESPONSE])
    assert state.first == 0
    [state] = record(tiny_local_model(), Keep(2, -5)).states([RESPONSE])
    assert state is None


def test_limits_leave_out_logits_and_linear_outputs():
    local = tiny_local_model()
    with ExitStack() as stack:
        recording = Recording(local, [ROW] * 200, 2000, Keep(2, -3))  # 154 million logits
        recording.listen(stack)
        assert not any(module._forward_hooks for module in (local.anatomy.head, *local.anatomy.layers.modules()))
        assert recording.cache.get_seq_length() == 0
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in local.model.modules())


def test_what_serves_several_readers():
    assert Keep.joined([Keep(2, -3), Keep(1, -1)]) == Keep(1, -3)
    assert Keep.joined([]) is None
