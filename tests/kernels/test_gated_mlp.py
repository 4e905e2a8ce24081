"""The backward pass of a gated MLP as one function gives autograd's gradient, and leaves other modules alone."""

from __future__ import annotations

from contextlib import ExitStack

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from transformers.activations import ACT2CLS, ACT2FN

from guardrail.kernels.gated_mlp import BLOCK, fuse_gated_mlps
from guardrail.kernels.live_rows import LiveRows

S, D, INNER = 9, 6, 10


class GatedMLP(nn.Module):
    def __init__(self, act: str = "silu") -> None:
        super().__init__()
        self.gate_proj, self.up_proj = nn.Linear(D, INNER), nn.Linear(D, INNER, bias=False)
        self.down_proj, self.act_fn = nn.Linear(INNER, D), ACT2FN[act]
        self.requires_grad_(False)

    def forward(self, x):
        return self.down_proj(self.act_fn(self.gate_proj(x)) * self.up_proj(x))


class Scaled(GatedMLP):
    def forward(self, x):
        return 2 * super().forward(x)


class Swapped(GatedMLP):
    def forward(self, x):
        return self.down_proj(self.act_fn(self.up_proj(x)) * self.gate_proj(x))


class Normed(GatedMLP):
    def forward(self, x):
        return super().forward(x / x.norm(dim=-1, keepdim=True))


class ScalarGate(GatedMLP):
    def __init__(self):
        super().__init__()
        self.gate_proj = nn.Linear(D, 1).requires_grad_(False)


class NarrowGate(GatedMLP):
    def __init__(self):
        super().__init__()
        self.gate_proj = nn.Linear(D, INNER // 2).requires_grad_(False)

    def forward(self, x):
        return self.down_proj(self.act_fn(self.gate_proj(x)).repeat_interleave(2, -1) * self.up_proj(x))


class WideDown(GatedMLP):
    def __init__(self):
        super().__init__()
        self.gate_proj.bfloat16()
        self.up_proj.bfloat16()

    def forward(self, x):
        x = x.bfloat16()
        return self.down_proj((self.act_fn(self.gate_proj(x)) * self.up_proj(x)).float())


class HalfAsWide(WideDown):
    """Entered in bfloat16."""

    def forward(self, x):
        return self.down_proj((self.act_fn(self.gate_proj(x)) * self.up_proj(x)).float()).bfloat16()


class Step(torch.autograd.Function):
    """No forward derivative."""

    @staticmethod
    def forward(ctx, x):
        return 2 * x

    @staticmethod
    def backward(ctx, grad):
        return 2 * grad


class Softmax(nn.Module):
    def forward(self, x):
        return x.softmax(-1)


def gradients(module, x, grads, ends, *, index=0, fuse=True, block=BLOCK):
    """Of each pass, all run together, beside the name of the function that ran."""
    live = LiveRows(tuple(ends))
    layers = nn.ModuleList([nn.Identity() for _ in range(index)] + [module, nn.Identity()][: 2 - index])
    with ExitStack() as stack:
        if fuse:
            fuse_gated_mlps(stack, layers, 0, x.shape[:-1], live, block=block)
        leaf = x.clone().requires_grad_(True)
        y = module(leaf)
        name = type(y.grad_fn).__name__
        found = torch.func.vmap(lambda g: torch.autograd.grad([y], [leaf], [g], retain_graph=True)[0])(grads)
        [alone] = torch.autograd.grad([y], [leaf], [grads[0]]) if len(ends) == 1 else [found[0]]
    assert torch.equal(alone, found[0])
    assert "forward" not in module.__dict__
    assert torch.equal(y.detach(), module(x))
    return found, name


@settings(max_examples=60, deadline=None)
@given(
    act=st.sampled_from(sorted(ACT2CLS)),
    ends=st.lists(st.integers(1, S), min_size=1, max_size=5),
    last=st.booleans(),
    rows=st.sampled_from([1, 4, 512]),
    seed=st.integers(0, 99),
    batch=st.integers(1, 2),
)
def test_each_pass_has_autograds_gradient(act, ends, last, rows, seed, batch):
    torch.manual_seed(seed)
    module, x = GatedMLP(act).double(), torch.randn(batch, S, D, dtype=torch.float64)
    grads = torch.zeros(len(ends), batch, S, D, dtype=torch.float64)
    for grad, end in zip(grads, ends, strict=True):  # in the last layer a claim's own rows alone
        grad[:, end // 2 if last else 0 : end] = 1
    grads *= torch.randn_like(grads)
    found, name = gradients(module, x, grads, ends, index=int(last), block=rows)
    expected, plain = gradients(module, x, grads, ends, fuse=False)
    assert name == "_FusedBackward" != plain
    assert torch.allclose(found, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("kind", [Scaled, Swapped, Normed, ScalarGate, NarrowGate, WideDown, HalfAsWide])
def test_a_module_that_computes_something_else_runs_as_it_is(kind):
    torch.manual_seed(0)
    dtype = torch.bfloat16 if kind is HalfAsWide else torch.float32
    module, x, grads = kind(), torch.randn(1, S, D).to(dtype), torch.randn(2, 1, S, D).to(dtype)
    found, name = gradients(module, x, grads, [S, S])
    expected, own = gradients(module, x, grads, [S, S], fuse=False)
    assert name == own
    assert torch.equal(found, expected)


def test_once_seen_to_be_something_else_it_is_not_tried_again():
    module, calls = Scaled(), []
    module.up_proj.register_forward_hook(lambda *_: calls.append(1))
    with ExitStack() as stack:
        fuse_gated_mlps(stack, nn.ModuleList([module]), 0, (1, S), LiveRows())
        for _ in range(3):
            module(torch.randn(1, S, D))
    assert len(calls) == 4


def test_float16_is_left_to_autograd_whose_order_does_not_overflow():
    module, x, grads = GatedMLP().half(), torch.randn(1, S, D).half(), torch.randn(1, 1, S, D).half()
    found, name = gradients(module, x, grads, [S])
    assert name != "_FusedBackward"
    assert torch.equal(found, gradients(module, x, grads, [S], fuse=False)[0])


def test_bfloat16_is_as_near_as_autograd():
    torch.manual_seed(0)
    module, x, grads = GatedMLP(), torch.randn(1, S, D), torch.randn(3, 1, S, D)
    exact, _ = gradients(module, x, grads, [S] * 3, fuse=False)
    module = module.bfloat16()
    found, name = gradients(module, x.bfloat16(), grads.bfloat16(), [S] * 3)
    assert name == "_FusedBackward"
    assert (found.float() - exact).abs().max() < 0.05 * exact.abs().max()


def test_an_activation_without_a_forward_derivative_is_left_alone(monkeypatch):
    module = GatedMLP()
    monkeypatch.setattr(type(module.act_fn), "forward", lambda _, x: Step.apply(x))
    assert gradients(module, torch.randn(1, S, D), torch.randn(1, 1, S, D), [S])[1] != "_FusedBackward"


def test_an_activation_that_mixes_units_is_left_alone():
    module = GatedMLP()
    module.act_fn = Softmax()
    assert gradients(module, torch.randn(1, S, D), torch.randn(1, 1, S, D), [S])[1] != "_FusedBackward"


def test_a_hook_on_one_of_the_layers_keeps_its_say():
    module, x, grads = GatedMLP(), torch.randn(1, S, D), torch.randn(1, 1, S, D)
    module.up_proj.register_forward_hook(lambda _, __, y: 3 * y)
    found, name = gradients(module, x, grads, [S])
    assert name != "_FusedBackward"
    assert torch.equal(found, gradients(module, x, grads, [S], fuse=False)[0])


def test_tokens_that_were_flattened_and_other_calls_run_as_they_are():
    module = GatedMLP()
    with ExitStack() as stack:
        fuse_gated_mlps(stack, nn.ModuleList([module]), 0, (1, S), LiveRows())
        for y in (module(torch.randn(S, D, requires_grad=True)), module(x=torch.randn(1, S, D, requires_grad=True))):
            assert type(y.grad_fn).__name__ != "_FusedBackward"
