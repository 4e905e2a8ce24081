"""Beginnings that prompts share run once: found, kept within bounds, and never those of other weights."""

from __future__ import annotations

import pytest
import torch
from transformers import DynamicCache

from guardrail.model.continuous.prefixes import Prefixes
from guardrail.scoring.hybridgrad import HybridGradScorer
from guardrail.testing import tiny_local_model

BEGINNING = "Answer in one word, as briefly as you can, and say nothing else at all: "


def ran(prefixes, prompt, version=1, most=None):
    """As the loop has it, with each token's id as its key: how many tokens came from before, and what the cache holds."""
    cache = DynamicCache()
    cached = prefixes.longest(prompt, most=len(prompt) - 1 if most is None else most, version=version)[0]
    prefixes.fill(cache, [prompt], [cached], version)
    rest = torch.tensor(prompt[cached:], dtype=torch.float32).reshape(1, 1, -1, 1)
    cache.update(rest, -rest, 0)
    prefixes.seen(prompt, cache, version)
    return cached, cache.layers[0].keys.flatten().tolist()


def test_what_came_twice_is_kept_and_the_third_goes_on_from_it():
    prefixes, head = Prefixes(), list(range(100, 120))
    for tail, expected in (([1, 2], 0), ([3], 0), ([4, 5, 6], 20), ([7], 20)):
        cached, keys = ran(prefixes, [*head, *tail])
        assert cached == expected
        assert keys == [*head, *tail]
    assert ran(prefixes, [*head, 8], most=15)[0] == 15  # what is kept for scoring runs
    assert ran(prefixes, [9, *head])[0] == 0
    assert ran(prefixes, head)[0] == 19  # one token has to run, for its logits
    assert ran(prefixes, [*head, 9], version=2)[0] == 0  # of other weights


def test_what_is_kept_has_a_bound_and_the_one_used_last_stays():
    a, b, c = ([start + i for i in range(20)] for start in (100, 200, 300))
    prefixes = Prefixes(most_bytes=2 * 20 * 2 * 4)
    for head in (a, b):
        for tail in (1, 2):
            ran(prefixes, [*head, tail])
    assert ran(prefixes, [*a, 3])[0] == 20
    for tail in (1, 2):
        ran(prefixes, [*c, tail])
    assert prefixes.bytes <= 2 * 20 * 2 * 4
    assert [ran(prefixes, [*head, 4])[0] for head in (a, c, b)] == [20, 20, 0]


@pytest.mark.parametrize("architecture", ["llama", "gemma2", "gpt2", "mixtral", "qwen2", "cohere", "phi3"])
def test_answers_states_and_scores_behind_a_shared_beginning_are_those_alone(architecture):
    local = tiny_local_model(architecture)
    scorer = HybridGradScorer(local)
    asked = [BEGINNING + end for end in ("Why?", "Who?", "When was that?", "Why?")]
    alone = [local.generate(q, max_new_tokens=6, keep=scorer.keep) for q in asked]
    ran = []
    with local.shared() as sharing:
        hook = local.anatomy.decoder.register_forward_pre_hook(
            lambda _, args, kwargs: ran.append((args[0] if args else kwargs["input_ids"]).shape[1]), with_kwargs=True
        )
        shared = [local.generate(q, max_new_tokens=6, keep=scorer.keep) for q in asked]
        hook.remove()
    assert sharing.merges
    long = [n for n in ran if n > 1]
    assert long[:2] == [len(t.prompt_ids) for t in alone[:2]]
    assert all(n < len(BEGINNING) / 2 for n in long[2:])  # the tiny tokenizer has a token a character
    for one, other in zip(alone, shared, strict=True):
        assert one.response_ids == other.response_ids
        assert one.state.first == other.state.first
        for x, y in zip(one.state.cache_keys, other.state.cache_keys, strict=True):
            assert (x - y).abs().max() <= 1e-5 * (1 + x.abs().max())
        for name, x in one.state.linear_outputs.items():
            assert (x - other.state.linear_outputs[name]).abs().max() <= 1e-5 * (1 + x.abs().max())
    for a, b in zip(scorer.score_traces(alone), scorer.score_traces(shared), strict=True):
        assert a.unscored == b.unscored
        assert a.number == (None if b.number is None else pytest.approx(b.number, rel=1e-4))
