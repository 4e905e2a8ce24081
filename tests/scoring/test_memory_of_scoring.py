"""Scoring's extra memory does not grow with the prompt: every tensor that an operation makes is counted while it lives."""

from __future__ import annotations

import weakref
from dataclasses import replace

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from guardrail.kernels import attention
from guardrail.model.local import LocalModel
from guardrail.scoring.hybridgrad import HybridGradScorer
from guardrail.testing import tiny_model, tiny_tokenizer


class PeakMemory(TorchDispatchMode):
    """Bytes of storages made inside and alive at once."""

    def __init__(self):
        super().__init__()
        self.alive, self.now, self.peak = {}, 0, 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        known = {x.untyped_storage().data_ptr() for x in tree_leaves((args, kwargs)) if isinstance(x, torch.Tensor)}
        result = function(*args, **(kwargs or {}))
        for x in tree_leaves(result):
            if isinstance(x, torch.Tensor):
                storage = x.untyped_storage()
                key = storage.data_ptr()
                if key not in known and key not in self.alive and storage.nbytes():
                    self.alive[key] = storage.nbytes()
                    self.now += storage.nbytes()
                    self.peak = max(self.peak, self.now)
                    weakref.finalize(storage, self._free, key)
        return result

    def _free(self, key):
        self.now -= self.alive.pop(key, 0)


def extra_memory(local, prompt_tokens, answer_tokens):
    scorer = HybridGradScorer(local)
    trace = local.generate("x" * prompt_tokens, max_new_tokens=answer_tokens, keep=scorer.keep)
    trace = replace(trace, text="said")
    with PeakMemory() as memory:
        assert scorer.score_trace(trace).unscored is None
    return memory.peak


@pytest.mark.parametrize("architecture", ["llama", "gemma2"])
def test_a_long_prompt_costs_what_a_short_one_does(architecture, monkeypatch):
    monkeypatch.setattr(
        attention, "CPU_BLOCK", 1
    )  # blocks as small against a tiny model as they are against a real one
    local = LocalModel(tiny_model(architecture, max_position_embeddings=8200), tiny_tokenizer())
    local.eos_ids = [383]
    P = 2000
    short, long = extra_memory(local, 80, 16), extra_memory(local, P, 16)
    assert short > 50_000  # it counts something
    ids_and_mask = P * (3 * 8 + 19 * 4)  # token ids, positions, and the mask of answer by prompt
    assert long < 1.2 * short + ids_and_mask
    assert long < 1.2 * short + P * 4 * 32  # less than one state a token in a single layer


def test_the_count_would_show_a_copied_prompt(monkeypatch):
    monkeypatch.setattr(attention, "CPU_BLOCK", 1)
    local = LocalModel(tiny_model(max_position_embeddings=8200), tiny_tokenizer())
    local.eos_ids = [383]
    in_place = extra_memory(local, 2000, 16)
    local.__dict__["anatomy"] = replace(local.anatomy, cache="copied")
    assert extra_memory(local, 2000, 16) > 2 * in_place
