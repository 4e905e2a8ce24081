"""A fused backward pass for gated MLPs, restricted to rows that can have a gradient, in blocks that fit the cache.

down(act(gate(x)) * up(x)) is most of a layer's arithmetic and of its memory traffic. Autograd under `vmap` writes four tensors
of all passes, all positions and the inner width; here only rows that can have a gradient exist, and few of them at once. The
formula is verified on each forward pass: a module that computes anything else runs as it is.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers.activations import ACT2CLS

from guardrail.kernels.frozen import replace_forward
from guardrail.kernels.live_rows import LiveRows
from guardrail.kernels.replay import first_row, plain_linear

BLOCK = 512  # rows of one product: the inner width of 135M to 1B models then stays in the cache
_ELEMENTWISE = frozenset(kind[0] if isinstance(kind, tuple) else kind for kind in ACT2CLS.values())
_LINEARS = ("gate_proj", "up_proj", "down_proj")


def fuse_gated_mlps(
    stack: ExitStack,
    layers: nn.ModuleList,
    first_layer: int,
    size: tuple[int, int],
    live: LiveRows,
    *,
    block: int = BLOCK,
) -> None:
    """Until `stack` is left, gated MLPs on the CPU that see hidden states of `size`, (B, S), have this backward pass.

    block: rows of one matrix product.
    """
    for index in range(first_layer, len(layers)):
        for module in list(layers[index].modules()):
            if _looks_gated(module):
                rows = _Rows(live, index == len(layers) - 1, block)
                replace_forward(stack, module, _fused(module, size, rows))


def _looks_gated(module: nn.Module) -> bool:
    linears = [getattr(module, name, None) for name in _LINEARS]
    plain = all(plain_linear(m) and m.weight.device.type == "cpu" for m in linears)
    return plain and type(getattr(module, "act_fn", None)) in _ELEMENTWISE and "forward" not in module.__dict__


@dataclass(frozen=True, slots=True)
class _Rows:
    """Which rows a backward pass is for, and `block` of them at a time. last: the last layer, where rows before a claim are
    zero, too."""

    live: LiveRows
    last: bool
    block: int


def _fused(module: nn.Module, size: tuple[int, int], rows: _Rows) -> Any:
    own, odd = module.forward, False

    def forward(*args: Any, **kwargs: Any) -> Any:
        nonlocal odd
        x = args[0] if len(args) == 1 and not kwargs else None
        if odd or x is None or x.shape[:-1] != size:  # flattened, before experts: their order is not the positions'
            return own(*args, **kwargs)
        with torch.no_grad(), ExitStack() as stack:
            calls = [_Call(stack, getattr(module, name)) for name in _LINEARS]
            y = own(x)
        weights = _seen(module, x, y, *calls)
        odd = weights is None
        return own(x) if odd else _Fused.apply(x, y, weights, rows)  # type: ignore[no-untyped-call]

    return forward


def _seen(module: nn.Module, x: Tensor, y: Any, gate: _Call, up: _Call, down: _Call) -> _Weights | None:
    """None where y is anything else than down(act(gate(x)) * up(x)), or where float16 would overflow on the way."""
    if not (gate.input is x and up.input is x and down.output is y):
        return None
    matrices = [getattr(module, name).weight for name in _LINEARS]
    numbers = [x, gate.output, up.output, down.input, y, *matrices]
    if len({n.dtype for n in numbers}) > 1 or x.dtype == torch.float16:
        return None
    if not gate.output.shape == up.output.shape == down.input.shape:
        return None
    ones = torch.ones_like(gate.output)  # unit by unit, so that its product with ones is the derivative
    try:
        with torch.no_grad():
            act, slope, *_ = torch.func.jvp(module.get_submodule("act_fn"), (gate.output,), (ones,))
    except RuntimeError:  # no forward derivative
        return None
    return _Weights(slope * up.output, act, *matrices) if torch.equal(act * up.output, down.input) else None


class _Call:
    """What entered a module and left it, until `stack` is left."""

    def __init__(self, stack: ExitStack, module: nn.Module) -> None:
        self.input = self.output = torch.empty(0)
        self._forward = module.forward
        replace_forward(stack, module, self)

    def __call__(self, x: Tensor) -> Tensor:
        self.input, self.output = x, self._forward(x)
        return self.output


@dataclass(frozen=True, slots=True, eq=False)
class _Weights:
    """Of h = act(gate) * up: dh/dgate and dh/dup, both (B, S, inner), and the three weights, (inner, D) and (D, inner)."""

    by_gate: Tensor
    by_up: Tensor
    gate: Tensor
    up: Tensor
    down: Tensor

    def gradient(self, grad: Tensor, by_gate: Tensor, by_up: Tensor) -> Tensor:
        """(P, K, D) -> (P, K, D), the gradient of what entered. by_gate, by_up: (P, 1, inner)."""
        P, K, _ = grad.shape
        dh = (grad.reshape(P * K, -1) @ self.down).view(P, K, -1)
        dx = (dh * by_gate).view(P * K, -1) @ self.gate
        dx.addmm_(dh.mul_(by_up).view(P * K, -1), self.up)
        return dx.view(P, K, -1)


class _Fused(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor, weights: _Weights, rows: _Rows) -> Tensor:
        ctx.others = weights, rows
        return y.clone()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:
        return _Gradient.apply(grad, *ctx.others), None, None, None  # type: ignore[no-untyped-call]


class _Gradient(torch.autograd.Function):
    """(B, S, D) -> (B, S, D), a function of its own so that under `vmap` each pass runs its live rows only."""

    @staticmethod
    def forward(grad: Tensor, weights: _Weights, rows: _Rows) -> Tensor:
        return _gradients(grad.unsqueeze(2), weights, rows).squeeze(2)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        pass

    @staticmethod
    def vmap(info: Any, in_dims: Any, grad: Tensor, weights: _Weights, rows: _Rows) -> tuple[Tensor, int]:
        return _gradients(grad.movedim(in_dims[0], 2), weights, rows), 2


def _gradients(grads: Tensor, weights: _Weights, rows: _Rows) -> Tensor:
    """(B, S, passes, D) -> (B, S, passes, D)."""
    out = torch.zeros_like(grads)
    passes = grads.shape[2]
    ends = rows.live.each(passes, grads.shape[1])
    for o, grad, by_gate, by_up in zip(out, grads, weights.by_gate, weights.by_up, strict=True):
        common = 0 if rows.last else min(ends)
        for at in _blocks(common, max(1, rows.block // passes)):  # rows that all passes have, uncopied
            o[at] = weights.gradient(grad[at], by_gate[at].unsqueeze(1), by_up[at].unsqueeze(1))
        starts = [first_row(grad[:, p]) if rows.last else common for p in range(passes)]
        places = torch.tensor([(t, p) for p, s in enumerate(starts) for t in range(s, ends[p])]).view(-1, 2)
        for at in _blocks(len(places), rows.block):
            t, p = places[at].unbind(1)
            o[t, p] = weights.gradient(grad[t, p].unsqueeze(1), by_gate[t].unsqueeze(1), by_up[t].unsqueeze(1))[:, 0]
    return out


def _blocks(rows: int, step: int) -> Iterator[slice]:
    for start in range(0, rows, step):
        yield slice(start, min(start + step, rows))
