"""Samples: drawn once, the same for everybody, from the model's distribution at the temperature asked for."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch

from guardrail.errors import ScoringError
from guardrail.model.token_log_probs import next_token_log_probs, token_log_probs
from guardrail.scoring.baselines import samples as module
from guardrail.scoring.baselines.samples import SampleSource, Sampling
from guardrail.testing import tiny_local_model


@pytest.fixture
def drawings(monkeypatch):
    """One entry for each time that the model generates."""
    calls, generate = [], module.generate

    def counted(*args):
        calls.append(args)
        return generate(*args)

    monkeypatch.setattr(module, "generate", counted)
    return calls


def test_one_set_for_everybody_who_asks_for_the_same(drawings):
    local = tiny_local_model()
    source = SampleSource(local, max_new_tokens=4)
    trace, other = local.trace("Hi", "x"), local.trace("Hi there", "x")
    first = source.samples(trace, Sampling(3, 1.0))
    assert source.samples(local.trace("Hi", "another answer"), Sampling(3, 1.0)) is first
    assert len(drawings) == 1
    for sampling in (Sampling(4, 1.0), Sampling(3, 0.7), Sampling(3, 1.0, top_k=5), Sampling(3, 1.0, top_p=0.5)):
        assert source.samples(trace, sampling) is not first
    assert source.samples(other, Sampling(3, 1.0)) is not first
    assert len(drawings) == 6
    with torch.no_grad():
        local.model.get_output_embeddings().weight.mul_(2)
    assert source.samples(trace, Sampling(3, 1.0)) is not first  # the weights changed


def test_the_oldest_set_is_forgotten(drawings):
    local = tiny_local_model()
    source = SampleSource(local, max_new_tokens=2, remembered=2)
    for text in ("a", "b", "a", "c", "a", "b"):  # a stays in use
        source.samples(local.trace(text, "x"), Sampling(2, 1.0))
    assert len(drawings) == 4


def test_draws_depend_on_the_seed_alone_and_leave_the_generators_alone():
    local = tiny_local_model()
    trace, wanted = local.trace("Hi", "x"), Sampling(4, 1.0)
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    one = SampleSource(local, max_new_tokens=8, seed=1)
    one.samples(local.trace("Something else before", "x"), wanted)
    drawn = one.samples(trace, wanted)
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(6)
    again = SampleSource(local, max_new_tokens=8, seed=1).samples(trace, wanted)
    assert again.ids == drawn.ids
    assert SampleSource(local, max_new_tokens=8, seed=2).samples(trace, wanted).ids != drawn.ids
    given = token_log_probs(local, [(trace.prompt_ids, ids) for ids in drawn.ids])
    for row, expected in zip(drawn.log_probs, given, strict=True):
        assert row == pytest.approx(expected.numpy(), abs=2e-5)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_tokens_are_drawn_with_the_frequencies_of_the_temperature(temperature):
    """2,000 first tokens against p^(1/T): a chi-squared test over the likeliest tokens, at one in a million."""
    from scipy.stats import chisquare

    local = tiny_local_model(vocab_size=261)
    trace = local.trace("Hi", "x")
    log_p = next_token_log_probs(local, trace.prompt_ids)
    p = (log_p / temperature).softmax(-1).numpy()
    drawn = SampleSource(local, max_new_tokens=1, seed=3).samples(trace, Sampling(2000, temperature))
    counts = np.bincount([ids[0] for ids in drawn.ids], minlength=len(p))
    likely = np.argsort(-p)[:12]
    likely = likely[p[likely] * 2000 >= 8]
    seen, expected = (np.append(x[likely], x.sum() - x[likely].sum()) for x in (counts, 2000 * p))
    assert chisquare(seen, expected * seen.sum() / expected.sum()).pvalue > 1e-6
    wrong = (log_p / (temperature * 2.5)).softmax(-1).numpy() * 2000  # the test can fail
    wrong = np.append(wrong[likely], wrong.sum() - wrong[likely].sum())
    assert chisquare(seen, wrong * seen.sum() / wrong.sum()).pvalue < 1e-6


def test_top_k_draws_from_the_likeliest_tokens_only():
    local = tiny_local_model()
    trace = local.trace("Hi", "x")
    likeliest = set(next_token_log_probs(local, trace.prompt_ids).topk(5).indices.tolist())
    drawn = SampleSource(local, max_new_tokens=1).samples(trace, Sampling(200, 1.0, top_k=5))
    assert {ids[0] for ids in drawn.ids} == likeliest


@pytest.mark.parametrize("architecture", ["llama", "gemma2", "lfm2"])
def test_states_are_the_middle_layers_at_the_last_token_before_the_end(architecture):
    local = tiny_local_model(architecture)
    assert local.anatomy.cached == (architecture != "lfm2")  # whose states are read again
    trace = local.trace("Hi", "x")
    drawn = SampleSource(local, max_new_tokens=6).samples(trace, Sampling(4, 1.0, states=True))
    assert drawn.states.shape == (4, 32)
    for ids, state in zip(drawn.ids, drawn.states, strict=True):
        with torch.no_grad():
            out = local.model(torch.tensor([[*trace.prompt_ids, *ids[:-1]]]), output_hidden_states=True)
        assert state == pytest.approx(out.hidden_states[2][0, -1].double().numpy(), abs=2e-5)


def test_threads_share_one_set(drawings):
    local = tiny_local_model()
    source, trace, found = SampleSource(local, max_new_tokens=4), local.trace("Hi", "x"), []
    work = [threading.Thread(target=lambda: found.append(source.samples(trace, Sampling(3, 1.0)))) for _ in range(6)]
    for thread in work:
        thread.start()
    for thread in work:
        thread.join()
    assert len(drawings) == 1
    assert all(one is found[0] for one in found)
    assert len(found) == 6


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n": 0, "temperature": 1.0}, "samples is 0"),
        ({"n": 3, "temperature": 0.0}, "temperature of samples is 0"),
        ({"n": 3, "temperature": float("nan")}, "temperature of samples is nan"),
        ({"n": 3, "temperature": 1.0, "top_p": 0.0}, "top_p is 0"),
        ({"n": 3, "temperature": 1.0, "top_k": -1}, "top_k is -1"),
    ],
)
def test_options_that_make_no_sense(options, message):
    with pytest.raises(ScoringError, match=message):
        Sampling(**options)
