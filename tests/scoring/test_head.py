"""The closed form of the LM head's gradients against values computed by hand and against autograd."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from guardrail.model.anatomy import Anatomy
from guardrail.scoring import head
from guardrail.scoring.head import HeadReadout, read_heads


def anatomy_of(weight: torch.Tensor, scale: float = 1.0, softcap: float | None = None) -> Anatomy:
    head = nn.Linear(weight.shape[1], weight.shape[0], bias=False)
    head.weight.data = weight
    return Anatomy("Toy", nn.Identity(), nn.ModuleList(), head, scale, softcap, False, "none", None)


def read_head(anatomy, hidden, targets, *, outputs=None, exgrad=False) -> HeadReadout:
    return read_heads(anatomy, [hidden], [targets.tolist()], outputs=[outputs], exgrad=exgrad)[0]


def test_two_tokens_one_unit_by_hand():
    """V = 2, D = 1, W = [0, ln 3], h = 1: p = (1/4, 3/4), H = ln 4 - (3/4) ln 3; the response is token 1.

    A = (-1/4, 1/4); dJ/dW = H A h = (-H/4, H/4); dJ/dh = H (A . W) = H ln 3 / 4.
    """
    readout = read_head(
        anatomy_of(torch.tensor([[0.0], [math.log(3)]])), torch.tensor([[1.0]]), torch.tensor([1]), exgrad=True
    )
    entropy = math.log(4) - 0.75 * math.log(3)
    assert readout.entropies.item() == pytest.approx(entropy, rel=1e-6)
    assert readout.log_probs.item() == pytest.approx(math.log(0.75), rel=1e-6)
    assert readout.paragrad == pytest.approx(entropy / 4, rel=1e-6)
    assert readout.exgrad == pytest.approx(1 / 4, rel=1e-6)
    assert readout.hidden_grad.item() == pytest.approx(entropy * math.log(3) / 4, rel=1e-6)


@settings(max_examples=30, deadline=None)
@given(
    T=st.integers(1, 5),
    V=st.integers(2, 1200),
    D=st.integers(1, 9),
    scale=st.sampled_from([1.0, 0.25, 3.0]),
    softcap=st.sampled_from([None, 2.0]),
    seed=st.integers(0, 10_000),
)
def test_equals_autograd(T, V, D, scale, softcap, seed):
    generator = torch.Generator().manual_seed(seed)
    W = torch.randn(V, D, generator=generator)
    H = torch.randn(T, D, generator=generator)
    y = torch.randint(V, (T,), generator=generator)
    readout = read_head(anatomy_of(W, scale, softcap), H, y)
    W, H = W.double().requires_grad_(), H.double().requires_grad_()
    z = (H @ W.T) * scale
    z = z if softcap is None else softcap * torch.tanh(z / softcap)
    log_p = z.log_softmax(-1)
    w = -(log_p.exp() * log_p).sum(-1).detach()
    (w * log_p[torch.arange(T), y]).mean().backward()
    assert readout.paragrad == pytest.approx(W.grad.abs().mean().item(), rel=1e-3, abs=1e-9)
    assert torch.allclose(readout.hidden_grad.double(), H.grad, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("margin", [5.0, 15.0, 20.0, 30.0])
def test_a_sure_model_loses_no_digits(margin):
    """p of the answer is near 1: 1 - p and log p must not cancel in float32."""
    generator = torch.Generator().manual_seed(0)
    W = torch.randn(50, 8, generator=generator)
    W[3] += margin / 8
    H = torch.ones(1, 8)
    readout = read_head(anatomy_of(W), H, torch.tensor([3]))
    W, H = W.double().requires_grad_(), H.double().requires_grad_()
    z = H @ W.T
    log_p = z.log_softmax(-1)
    # log_softmax itself cancels: the other tokens' share gives log p and the gradient exactly
    rest = (z[0] - z[0, 3]).exp().sum() - 1
    w = -(log_p.exp() * log_p).sum().detach()
    (-w * torch.log1p(rest)).backward()
    assert readout.log_probs.item() == pytest.approx(-torch.log1p(rest).item(), rel=1e-4)
    assert readout.paragrad == pytest.approx(W.grad.abs().mean().item(), rel=1e-4)
    assert torch.allclose(readout.hidden_grad.double(), H.grad, rtol=1e-3, atol=1e-12)


def test_logits_of_minus_infinity_are_no_nan():
    """Some models mask unused vocabulary with -inf; such a token has probability 0 and adds nothing."""
    anatomy = anatomy_of(torch.randn(4, 3))
    outputs = torch.tensor([[1.0, 2.0, float("-inf"), 0.5]])
    readout = read_head(anatomy, torch.randn(1, 3), torch.tensor([1]), outputs=outputs)
    p = torch.tensor([1.0, 2.0, 0.5]).softmax(0)
    assert readout.entropies.item() == pytest.approx(-(p * p.log()).sum().item(), rel=1e-5)
    assert math.isfinite(readout.paragrad)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_nan_and_plus_infinity_come_through(bad):
    outputs = torch.tensor([[1.0, bad, 0.5, 0.1]])
    readout = read_head(anatomy_of(torch.randn(4, 3)), torch.randn(1, 3), torch.tensor([0]), outputs=outputs)
    assert not math.isfinite(readout.paragrad)


@settings(max_examples=20, deadline=None)
@given(V=st.integers(2, 300), slices=st.integers(1, 400), stored=st.booleans(), seed=st.integers(0, 1000))
def test_slices_of_the_vocabulary_and_batches_change_nothing(V, slices, stored, seed):
    """However the vocabulary is cut, whether logits are stored or computed again, alone or beside other answers."""
    noise = torch.Generator().manual_seed(seed)
    anatomy = anatomy_of(torch.randn(V, 6, generator=noise), softcap=3.0)
    anatomy.head.weight.data[0] *= 8  # a peak, somewhere
    hidden = [torch.randn(T, 6, generator=noise) for T in (1, 4, 2)]
    targets = [torch.randint(V, (len(h),), generator=noise).tolist() for h in hidden]
    whole = [read_heads(anatomy, [h], [t], exgrad=True)[0] for h, t in zip(hidden, targets, strict=True)]
    before = head._CPU_SLICE, head._STORED
    head._CPU_SLICE, head._STORED = slices, 2**25 if stored else 0
    try:
        parts = read_heads(anatomy, hidden, targets, exgrad=True)
    finally:
        head._CPU_SLICE, head._STORED = before
    for a, b in zip(whole, parts, strict=True):
        assert (a.paragrad, a.exgrad) == pytest.approx((b.paragrad, b.exgrad), rel=1e-4)
        assert torch.allclose(a.entropies, b.entropies, rtol=1e-4, atol=1e-6)
        assert torch.allclose(a.log_probs, b.log_probs, rtol=1e-4, atol=1e-5)
        assert torch.allclose(a.hidden_grad, b.hidden_grad, rtol=1e-3, atol=1e-6)
