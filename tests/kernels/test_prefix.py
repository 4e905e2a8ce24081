"""Attention to a prefix in place: equal to one softmax over everything, forward and backward, block by block."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from guardrail.errors import UnsupportedModelError
from guardrail.kernels.attention import Prefix, PrefixAttention, StoredAttention
from guardrail.kernels.live_rows import LiveRows
from guardrail.model.anatomy import read_anatomy
from guardrail.testing import MORE_ARCHITECTURES, tiny_model


def whole_attention(q, k, v, K, V, mask, scale, softcap, sinks):
    """One softmax over prefix and suffix by autograd, keys repeated for grouped queries."""
    groups = q.shape[1] // k.shape[1]
    keys, values = (torch.cat(x, 2).repeat_interleave(groups, 1) for x in ((K, k), (V, v)))
    scores = q @ keys.transpose(-1, -2) * scale
    if softcap is not None:
        scores = softcap * torch.tanh(scores / softcap)
    scores = scores.masked_fill(~mask, float("-inf"))
    if sinks is not None:
        B, H, S, _ = scores.shape
        scores = torch.cat([scores, sinks.view(1, H, 1, 1).expand(B, H, S, 1)], -1)
    return scores.softmax(-1)[..., : keys.shape[2]] @ values


@settings(max_examples=40, deadline=None)
@given(
    N=st.integers(0, 200),
    S=st.integers(1, 7),
    groups=st.integers(1, 3),
    softcap=st.sampled_from([None, 1.5]),
    with_sinks=st.booleans(),
    window=st.sampled_from([None, 3, 80]),
    stored=st.booleans(),
    live=st.integers(1, 7),
    seed=st.integers(0, 1000),
)
def test_equals_one_softmax(N, S, groups, softcap, with_sinks, window, stored, live, seed):
    live = min(live, S)  # the gradient that comes in is zero from there on
    noise = torch.Generator().manual_seed(seed)

    def random(*shape):
        return torch.randn(shape, generator=noise, dtype=torch.float64).float()

    q, k, v = random(2, 2 * groups, S, 4), random(2, 2, S, 4), random(2, 2, S, 5)
    K, V, sinks = random(2, 2, N, 4), random(2, 2, N, 5), random(2 * groups) if with_sinks else None
    at = torch.arange(N, N + S).unsqueeze(1)
    mask = (torch.arange(N + S) <= at) & (torch.arange(N + S) > at - (window or N + S))
    mask = mask.expand(2, 1, S, N + S)
    inputs = [x.requires_grad_() for x in (q, k, v)]
    softcap = None if stored else softcap
    prefix = Prefix(K, V, mask, 0.5, softcap, sinks, LiveRows((live,)), block=1)  # blocks of 64 keys, the smallest
    fast = (StoredAttention if stored else PrefixAttention).apply(*inputs, prefix)
    upstream = random(*fast.shape)
    upstream[:, :, live:] = 0
    fast_grads = torch.autograd.grad(fast, inputs, upstream)
    slow = whole_attention(*inputs, K, V, mask, 0.5, softcap, sinks)
    assert torch.allclose(fast, slow, rtol=1e-4, atol=1e-5)
    for a, b in zip(fast_grads, torch.autograd.grad(slow, inputs, upstream), strict=True):
        assert torch.allclose(a, b, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("stored", [True, False])
def test_a_query_that_sees_nothing_gives_zero(stored):
    """Padding behind a short row, beyond a sliding window: 0 / 0 would spread to the rows that count."""
    q, k, v = (torch.ones(1, 1, 2, 4, requires_grad=True) for _ in range(3))
    K = V = torch.ones(1, 1, 3, 4)
    mask = torch.tensor([[True] * 4 + [False], [False] * 5]).view(1, 1, 2, 5)
    out = (StoredAttention if stored else PrefixAttention).apply(q, k, v, Prefix(K, V, mask, 1.0))
    assert torch.equal(out[0, 0, 1], torch.zeros(4))
    assert all(bool(g.isfinite().all()) for g in torch.autograd.grad(out.sum(), (q, k, v)))


@pytest.mark.parametrize(
    ("architecture", "way"),
    [
        ("llama", "in place"),
        ("gpt_oss", "in place"),  # sinks
        ("gemma2", "in place"),  # soft-capped scores
        ("falcon", "copied"),  # its own attention
        ("deepseek_v3", "copied"),
        ("mpt", "copied"),
        ("lfm2", "none"),  # convolutions
        ("qwen3_next", "none"),  # linear attention
        ("rwkv", "none"),
    ],
)
def test_each_model_takes_the_next_exact_way(architecture, way):
    assert read_anatomy(tiny_model(architecture)).cache == way


def test_keys_shared_between_layers_need_the_whole_prompt():
    """Upper layers that read a lower layer's keys cannot run without it."""
    assert "gemma4_text" in MORE_ARCHITECTURES
    shared = tiny_model("gemma4_text", num_kv_shared_layers=2, layer_types=["sliding_attention", "full_attention"] * 2)
    assert read_anatomy(shared).cache == "none"
    assert read_anatomy(tiny_model("gemma4_text")).cache == "in place"


def test_layers_of_several_states_a_token_are_refused():
    from transformers import Gemma3nForCausalLM, Gemma3nTextConfig

    config = Gemma3nTextConfig(
        vocab_size=64,
        vocab_size_per_layer_input=64,
        hidden_size=16,
        hidden_size_per_layer_input=8,
        intermediate_size=[16] * 4,
        num_hidden_layers=4,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=8,
        laurel_rank=4,
        num_kv_shared_layers=2,
        layer_types=["sliding_attention", "full_attention"] * 2,
        activation_sparsity_pattern=[0.0] * 4,
    )
    with pytest.raises(UnsupportedModelError, match="Gemma3nForCausalLM cannot be scored"):
        read_anatomy(Gemma3nForCausalLM(config).eval())


def test_the_config_is_left_as_it_was():
    model = tiny_model("llama", attn_implementation="eager")
    read_anatomy(model)
    assert model.config._attn_implementation == "eager"


def test_large_gradients_do_not_overflow_in_float16():
    """They are scaled before they are rounded, in both forms."""
    q, k, v = torch.zeros(1, 1, 2, 64), torch.full((1, 1, 2, 64), 300.0), torch.full((1, 1, 2, 64), 20.0)
    k[:, :, 1], v[:, :, 1] = -300, -20
    mask = torch.ones(1, 1, 2, 2, dtype=torch.bool)
    found = []
    for kind in (StoredAttention, PrefixAttention):
        inputs = [x.half().requires_grad_() for x in (q, k, v)]
        empty = torch.zeros(1, 1, 0, 64, dtype=torch.float16)
        out = kind.apply(*inputs, Prefix(empty, empty, mask, 0.125))
        found.append(torch.autograd.grad(out, inputs, torch.ones_like(out))[0])
    assert found[0].isfinite().all()
    assert torch.allclose(found[0], found[1], rtol=1e-2)
