"""The KV cache under either name that transformers has had for it, and no warning of transformers about how it is asked."""

from __future__ import annotations

import logging
import warnings
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from transformers import Cache
from transformers.utils import ModelOutput

from guardrail.model.decoder import cache_keyword
from guardrail.model.prompt_states import prompt_states
from guardrail.model.question_states import states_entering
from guardrail.model.token_log_probs import token_log_probs
from guardrail.scoring.hybridgrad import HybridGradScorer
from guardrail.testing import tiny_local_model

PROMPTS = [[5, 6, 7, 8, 9], [5, 6, 7, 4]]


@dataclass
class Output(ModelOutput):
    last_hidden_state: torch.Tensor | None = None
    cache: Cache | None = None


def with_other_name(local):
    """The model, its decoder taking and giving the cache under the name that the installed transformers does not have."""
    own = local.anatomy.decoder.forward
    known = cache_keyword(own)

    def run(ids, mask, positions, cache, use_cache):
        out = own(ids, mask, positions, use_cache=use_cache, **{known: cache})
        return Output(out.last_hidden_state, out[known])

    def new(input_ids, attention_mask=None, position_ids=None, cache=None, use_cache=None):
        return run(input_ids, attention_mask, position_ids, cache, use_cache)

    def old(input_ids, attention_mask=None, position_ids=None, past_key_values=None, use_cache=None):
        return run(input_ids, attention_mask, position_ids, past_key_values, use_cache)

    local.anatomy.decoder.forward = new if known == "past_key_values" else old
    assert cache_keyword(local.anatomy.decoder.forward) != known
    return local


def numbers(local):
    pairs = [((5, 6, 7), (8, 9)), ((5, 6, 7), (4,))]
    trace = local.trace("Who wrote Faust?", "Goethe did.")
    return [
        *[found.numpy() for found in token_log_probs(local, pairs)],
        prompt_states(local, PROMPTS, [-1]).numpy(),
        states_entering(local, PROMPTS, 1),
        HybridGradScorer(local).score_traces([trace])[0].value,
    ]


def test_a_decoder_with_the_other_name_gives_the_same_numbers():
    usual = tiny_local_model()
    assert usual.anatomy.cached  # or no cache would be given
    for found, expected in zip(numbers(with_other_name(tiny_local_model())), numbers(usual), strict=True):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "qwen3", "mpt", "falcon_mamba", "gemma3_text"])
def test_transformers_warns_of_nothing(architecture, caplog):
    local = tiny_local_model(architecture)
    local.model.config.pad_token_id = 4  # what transformers looks for in ids without a mask; a prompt ends in it
    logging.getLogger("transformers").addHandler(caplog.handler)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", FutureWarning)
            numbers(local)
            local.generate_batch(["Who?", "Who wrote Faust?"], max_new_tokens=2)
            local.generate_batch(["Who?", "Who?"], max_new_tokens=2)
    finally:
        logging.getLogger("transformers").removeHandler(caplog.handler)
    installed_without = "is falling back to its reference PyTorch implementation"
    assert [r.getMessage() for r in caplog.records if installed_without not in r.getMessage()] == []
