"""Beginnings that prompts share run once: found, kept within bounds, and never those of other weights."""

from __future__ import annotations

import functools
import time
from concurrent.futures import ThreadPoolExecutor

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
    cached = prefixes.longest(prompt, most=len(prompt) - 1 if most is None else most, version=version)
    prefixes.fill(cache, [prompt], [cached])
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


@pytest.mark.parametrize("architecture", ["llama", "gemma2", "gpt2"])
def test_prompts_that_wait_together_run_in_one_pass_and_are_answered_as_alone(architecture):
    local = tiny_local_model(architecture)
    scorer = HybridGradScorer(local)
    asked = [BEGINNING + end for end in ("Why?", "Who was it?", "When?", "And where was that, please?")]
    limits = [1, 6, 6, 6]  # the first is done by its prompt's pass
    alone = [local.generate(q, max_new_tokens=n, keep=scorer.keep) for q, n in zip(asked, limits, strict=True)]
    passes = []
    with local.shared() as sharing, ThreadPoolExecutor(4) as pool:
        for end in ("How?", "What?"):
            local.generate(BEGINNING + end, max_new_tokens=1)
        hook = local.anatomy.decoder.register_forward_pre_hook(
            lambda _, args, kwargs: passes.append(tuple((args[0] if args else kwargs["input_ids"]).shape)),
            with_kwargs=True,
        )
        with local.lock:
            answers = [
                pool.submit(local.generate, q, max_new_tokens=n, keep=scorer.keep)
                for q, n in zip(asked, limits, strict=True)
            ]
            while sharing.waiting < 4:
                time.sleep(0.001)
        shared = [answer.result() for answer in answers]
        hook.remove()
    ran = max(len(t.prompt_ids) for t in alone) - len(alone[0].prompt_ids) + len("Why?")
    assert [rows for rows, tokens in passes if tokens > 1] == [4]
    assert ran < passes[0][1] < len(BEGINNING)
    for one, other in zip(alone, shared, strict=True):
        assert one.response_ids == other.response_ids
        for x, y in zip(
            (*one.state.cache_keys, one.state.band_states),
            (*other.state.cache_keys, other.state.band_states),
            strict=True,
        ):
            assert x.shape == y.shape
            assert (x - y).abs().max() <= 1e-5 * (1 + x.abs().max())
    for a, b in zip(scorer.score_traces(alone), scorer.score_traces(shared), strict=True):
        assert a.unscored == b.unscored
        assert a.number == (None if b.number is None else pytest.approx(b.number, rel=1e-4))


def test_a_pass_of_several_prompts_that_fails_is_run_again_for_each(monkeypatch):
    local = tiny_local_model()
    asked = [BEGINNING + end for end in ("How?", "What?", "Why?", "Who was it?", "When?")]
    alone = [local.generate(q, max_new_tokens=4).response_ids for q in asked]
    forward, failed = local.model.forward, []

    def fails(*args, input_ids=None, **kwargs):
        if input_ids.shape[0] > 1 and input_ids.shape[1] > 1:
            failed.append(len(input_ids))
            raise RuntimeError("a device-side assert")
        return forward(*args, input_ids=input_ids, **kwargs)

    with local.shared() as sharing, ThreadPoolExecutor(5) as pool:
        assert [local.generate(q, max_new_tokens=4).response_ids for q in asked[:2]] == alone[:2]
        monkeypatch.setattr(local.model, "forward", functools.wraps(forward)(fails))
        with local.lock:
            answers = [pool.submit(local.generate, q, max_new_tokens=4) for q in asked]
            while sharing.waiting < 5:
                time.sleep(0.001)
        assert [answer.result().response_ids for answer in answers] == alone
    assert failed == [5]
