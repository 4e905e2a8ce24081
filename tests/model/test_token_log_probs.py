"""Log-probabilities of drawn and of given tokens: against the model's own logits and against each other."""

from __future__ import annotations

import pytest
import torch

from guardrail.errors import ModelError
from guardrail.model.generate import Decoding, generate
from guardrail.model.token_log_probs import next_token_log_probs, token_log_probs
from guardrail.testing import tiny_local_model

KINDS = ["llama", "gemma2", "granite", "gpt2", "lfm2", "falcon_mamba"]  # plain, capped, scaled, no rotary, recurrent


@pytest.mark.parametrize("architecture", KINDS)
def test_given_tokens_have_the_log_probs_of_the_models_own_logits(architecture):
    local = tiny_local_model(architecture)
    pairs = [([7, 8, 9], [30, 31, 2]), ([5] * 6, [40]), ([6, 7], [50, 51, 52, 53, 54])]
    for (prompt, response), found in zip(pairs, token_log_probs(local, pairs), strict=True):
        with torch.no_grad():
            logits = local.model(torch.tensor([prompt + response])).logits[0].double()
        rows = logits.log_softmax(-1)[len(prompt) - 1 : -1]
        assert found.tolist() == pytest.approx(rows[range(len(response)), response].tolist(), abs=2e-5)
        following = next_token_log_probs(local, prompt)
        assert following[response[0]].item() == pytest.approx(found[0].item(), abs=2e-5)
        assert following.exp().sum().item() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("architecture", KINDS)
def test_neighbours_that_share_a_prompt_are_read_as_each_alone(architecture):
    local = tiny_local_model(architecture)
    prompt = [7, 8, 9, 10, 11, 12, 13, 14, 15, 16]  # longer than a sliding window
    pairs = [(prompt, [30, 31, 2]), (prompt, []), (prompt, [40]), (prompt[1:], [40, 41]), (prompt[1:], [9] * 12)]
    together = token_log_probs(local, pairs)
    for pair, found in zip(pairs, together, strict=True):
        assert found.tolist() == pytest.approx(token_log_probs(local, [pair])[0].tolist(), abs=2e-5)


@pytest.mark.parametrize(
    "architecture", [*KINDS, "recurrent_gemma"]
)  # whose state reads padding: it is answered without
def test_drawn_tokens_have_the_log_probs_of_given_ones_whatever_they_were_drawn_from(architecture):
    local = tiny_local_model(architecture)
    prompts = [local.encode_prompt(text) for text in ("Hi", "A longer prompt")] * 3
    decoding = Decoding(7, 0.5, seed=3, top_p=0.9, top_k=20, log_probs=True)
    traces = generate(local, [()] * 6, prompts, decoding, None, [False] * 6)
    given = token_log_probs(local, [(t.prompt_ids, t.response_ids) for t in traces])
    for trace, log_probs in zip(traces, given, strict=True):
        assert len(trace.log_probs) == len(trace.response_ids)
        assert trace.log_probs == pytest.approx(log_probs.tolist(), abs=2e-5)


def test_an_answer_that_ends_early_has_log_probs_up_to_its_end():
    local = tiny_local_model()
    prompt = local.encode_prompt("Hi")
    traces = generate(local, [()] * 40, [prompt] * 40, Decoding(30, 3.0, seed=0, log_probs=True), None, [False] * 40)
    lengths = {len(t.response_ids) for t in traces}
    assert len(lengths) > 1, "no answer ended early; take another seed"
    assert all(len(t.log_probs) == len(t.response_ids) for t in traces)
    assert local.generate("Hi", max_new_tokens=2).log_probs is None


def test_top_k_of_one_is_greedy_and_a_small_top_p_too():
    local = tiny_local_model()
    prompt = local.encode_prompt("Hi")
    greedy = local.generate("Hi", max_new_tokens=6).response_ids
    for decoding in (Decoding(6, 1.0, seed=1, top_k=1), Decoding(6, 1.0, seed=1, top_p=1e-6)):
        assert generate(local, [()], [prompt], decoding, None, [False])[0].response_ids == greedy


def test_what_cannot_be_read_is_refused():
    local = tiny_local_model()
    with pytest.raises(ModelError, match="no token"):
        token_log_probs(local, [([], [3])])
    with pytest.raises(ModelError, match="exceed the context of tiny-llama, 256"):
        token_log_probs(local, [([3] * 250, [3] * 8)])
    assert token_log_probs(local, [([3] * 250, [3] * 7), ([3], [])])[1].shape == (0,)
    assert token_log_probs(local, []) == []
