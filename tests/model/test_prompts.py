"""Padding by hand, and a shared prefix that gives what a pass over the whole prompt gives."""

from __future__ import annotations

import torch

from guardrail.model.prompts import pad, shared_prefix
from guardrail.testing import tiny_local_model


def test_padding_by_hand():
    ids, mask = pad([[5, 6], [7], []], 0)
    assert (ids.tolist(), mask.tolist()) == ([[5, 6], [7, 0], [0, 0]], [[1, 1], [1, 0], [0, 0]])
    ids, mask = pad([[5, 6], [7], []], 9, left=True)
    assert (ids.tolist(), mask.tolist()) == ([[5, 6], [9, 7], [9, 9]], [[1, 1], [0, 1], [0, 0]])


def test_a_shared_prefix_serves_every_row():
    local, head, ends = tiny_local_model(), [5, 6, 7], [[8, 9], [10, 11]]
    with torch.no_grad():
        cache = shared_prefix(local, head, 2)
        behind = local.model(torch.tensor(ends), past_key_values=cache).logits
        whole = local.model(torch.tensor([head + end for end in ends])).logits[:, 3:]
    torch.testing.assert_close(behind, whole)
