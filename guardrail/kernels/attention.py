"""Attention to a prefix and a suffix whose backward pass is for the suffix alone: the prefix is a constant, read where it lies.

Knows nothing about models, caches or scores.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from guardrail.kernels.live_rows import Live

CPU_BLOCK = 2**18  # entries of one block of attention scores: 1 MiB in float32, which stays in the cache
_GPU_BLOCK = 2**22


class StoredAttention(torch.autograd.Function):
    """As `PrefixAttention`, for few positions: one block, whose softmax weights are kept for the backward pass."""

    @staticmethod
    def forward(
        ctx: Any,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        K: Tensor,
        V: Tensor,
        mask: Tensor | None,
        scale: float,
        sinks: Tensor | None,
        live: Live,
    ) -> Tensor:
        Q = _grouped(q, k.shape[1])
        keys, values = torch.cat([K, k], 2), torch.cat([V, v], 2)
        s = _scores(Q, keys, mask, slice(None), scale, None, q.shape[2])
        peak = s.amax(-1, keepdim=True).clamp_(min=torch.finfo(torch.float32).min)
        sink = None
        if sinks is not None:
            sink = _sinks(sinks, Q)
            peak = torch.maximum(peak, sink)
        p = s.sub_(peak).exp_()
        total = p.sum(-1, keepdim=True)
        total = total.clamp_(min=torch.finfo(torch.float32).tiny) if sink is None else total + (sink - peak).exp_()
        p.div_(total)
        out = p.to(values.dtype) @ values
        ctx.save_for_backward(Q, keys, values, p, out)
        ctx.scale, ctx.live, ctx.own = scale, live, k.shape[2]
        return _ungrouped(out.to(q.dtype), q.shape[2])

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        dq, dk, dv = _StoredGradients.apply(grad, *ctx.saved_tensors, ctx.scale, ctx.own, ctx.live)  # type: ignore[no-untyped-call]
        return dq, dk, dv, *[None] * 6


class _StoredGradients(torch.autograd.Function):
    """The backward pass of `StoredAttention`, a function of its own so that under `vmap` each pass runs its live rows only."""

    @staticmethod
    def forward(
        grad: Tensor,
        Q: Tensor,
        keys: Tensor,
        values: Tensor,
        p: Tensor,
        out: Tensor,
        scale: float,
        own: int,
        live: Live,
    ) -> tuple[Tensor, Tensor, Tensor]:
        n = live.of(own)
        return _padded(_stored_gradients(grad, Q, keys, values, p, out, scale, own, n), own)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        pass

    @staticmethod
    def vmap(
        info: Any,
        in_dims: Any,
        grad: Tensor,
        Q: Tensor,
        keys: Tensor,
        values: Tensor,
        p: Tensor,
        out: Tensor,
        scale: float,
        own: int,
        live: Live,
    ) -> tuple[tuple[Tensor, ...], tuple[int, ...]]:
        grads = grad.movedim(in_dims[0], 0)
        B, heads, rows, d = Q.shape
        shapes = ((B, heads * rows // own, own, d), keys[:, :, -own:].shape, values[:, :, -own:].shape)
        out_grads = tuple(Q.new_zeros(len(grads), *shape) for shape in shapes)
        for b, (g, end) in enumerate(zip(grads, live.ends, strict=True)):
            for whole, part in zip(
                out_grads, _stored_gradients(g, Q, keys, values, p, out, scale, own, end), strict=True
            ):
                whole[b, :, :, :end] = part
        return out_grads, (0, 0, 0)


def _stored_gradients(
    grad: Tensor, Q: Tensor, keys: Tensor, values: Tensor, p: Tensor, out: Tensor, scale: float, own: int, n: int
) -> tuple[Tensor, Tensor, Tensor]:
    """dq, dk and dv of the first n of `own` positions: a causal model's others are zero."""
    N, rows = keys.shape[2] - own, Q.shape[2] // own * n
    Q, out, p = Q[:, :, :rows], out[:, :, :rows], p[:, :, :rows, : N + n]
    keys, values = keys[:, :, : N + n], values[:, :, : N + n]
    dO = _grouped(grad[:, :, :n], keys.shape[1])
    dS = (dO @ values.transpose(-1, -2)).float().sub_((dO.float() * out).sum(-1, keepdim=True))
    dS = dS.mul_(p).mul_(scale).to(Q.dtype)  # scaled before it is rounded: float16 would overflow
    dq = _ungrouped(dS @ keys, n)
    dk = dS[..., N:].transpose(-1, -2) @ Q
    dv = p[..., N:].to(dO.dtype).transpose(-1, -2) @ dO
    return dq, dk, dv


class PrefixAttention(torch.autograd.Function):
    """softmax(scale q [K; k]^T) [V; v] with K and V constant, block by block with a running softmax.

    q: (B, Hq, S, d); k, v: (B, Hkv, S, d), of the suffix; K, V: (B, Hkv, N, d), of the prefix. Queries of one group share
    their keys, so they are treated as one longer row of queries. Softmax and sums are float32, whatever the inputs are.
    """

    @staticmethod
    def forward(
        ctx: Any,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        K: Tensor,
        V: Tensor,
        mask: Tensor | None,
        scale: float,
        softcap: float | None,
        sinks: Tensor | None,
        live: Live,
    ) -> Tensor:
        S = q.shape[2]
        Q = _grouped(q, k.shape[1])
        if sinks is None:
            peak = Q.new_full((*Q.shape[:3], 1), torch.finfo(torch.float32).min, dtype=torch.float32)
            total = torch.zeros_like(peak)
        else:  # a learned logit that takes its share of the softmax and gives no value
            peak = _sinks(sinks, Q)
            total = torch.ones_like(peak)
        out: Tensor | float = 0.0
        for keys, values, at in _blocks(K, V, k, v, Q):
            s = _scores(Q, keys, mask, at, scale, softcap, S)
            higher = torch.maximum(peak, s.amax(-1, keepdim=True))
            p = s.sub_(higher).exp_()
            shrink = (peak - higher).exp_()
            total = total * shrink + p.sum(-1, keepdim=True)
            out = out * shrink + (p.to(values.dtype) @ values).float()
            peak = higher
        assert isinstance(out, Tensor)  # noqa: S101  (the suffix is a block, so there is at least one)
        total.clamp_(min=torch.finfo(torch.float32).tiny)  # a padding query may see nothing at all; 0 / 0 would spread
        out = out / total
        ctx.save_for_backward(Q, k, v, out, peak + total.log())
        ctx.prefix, ctx.mask, ctx.scale, ctx.softcap, ctx.live = (K, V), mask, scale, softcap, live
        return _ungrouped(out.to(q.dtype), S)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        Q, k, v, out, log_total = ctx.saved_tensors
        K, V = ctx.prefix
        whole, mask = k.shape[2], ctx.mask
        S = ctx.live.of(whole)
        rows = Q.shape[2] // whole * S
        Q, out, log_total = Q[:, :, :rows], out[:, :, :rows], log_total[:, :, :rows]
        k, v = k[:, :, :S], v[:, :, :S]
        mask = None if mask is None else mask[..., :S, : K.shape[2] + S]
        dO = _grouped(grad[:, :, :S], k.shape[1])
        drain = (dO.float() * out).sum(-1, keepdim=True)
        dQ: Tensor | float = 0.0
        dS = p = Q
        for keys, values, at in _blocks(K, V, k, v, Q):
            s = _scores(Q, keys, mask, at, ctx.scale, ctx.softcap, S)
            p = (s - log_total).exp_()
            dS = (dO @ values.transpose(-1, -2)).float().sub_(drain).mul_(p).mul_(ctx.scale)
            if ctx.softcap is not None:  # masked scores are -inf here, and p is 0
                dS.mul_(1 - (s / ctx.softcap).clamp_(min=-1).square_())
            dS = dS.to(Q.dtype)
            dQ = dQ + (dS @ keys).float()
        # the last block ends with the suffix
        own = slice(dS.shape[-1] - k.shape[2], None)
        dk = dS[..., own].transpose(-1, -2) @ Q
        dv = p[..., own].to(dO.dtype).transpose(-1, -2) @ dO
        assert isinstance(dQ, Tensor)  # noqa: S101
        return (*_padded((_ungrouped(dQ.to(Q.dtype), S), dk, dv), whole), *[None] * 7)


def _grouped(x: Tensor, heads: int) -> Tensor:
    """(B, Hq, S, d) -> (B, Hkv, S * groups, d): queries that share their keys as one row, position by position."""
    B, _, S, d = x.shape
    return x.reshape(B, heads, -1, S, d).transpose(2, 3).reshape(B, heads, -1, d)


def _ungrouped(x: Tensor, S: int) -> Tensor:
    """(B, Hkv, S * groups, d) -> (B, Hq, S, d)."""
    B, heads, _, d = x.shape
    return x.view(B, heads, S, -1, d).transpose(2, 3).reshape(B, -1, S, d)


def _sinks(sinks: Tensor, Q: Tensor) -> Tensor:
    """(Hq,) -> (B, Hkv, S * groups, 1), in the order of `_grouped`."""
    B, heads, rows, _ = Q.shape
    groups = len(sinks) // heads
    return sinks.float().view(1, heads, 1, groups).expand(B, -1, rows // groups, -1).reshape(B, heads, rows, 1)


def _padded(grads: tuple[Tensor, Tensor, Tensor], S: int) -> tuple[Tensor, Tensor, Tensor]:
    """(B, heads, n, d) -> (B, heads, S, d): zero behind the live rows."""
    dq, dk, dv = (g if g.shape[2] == S else pad(g, (0, 0, 0, S - g.shape[2])) for g in grads)
    return dq, dk, dv


def _blocks(K: Tensor, V: Tensor, k: Tensor, v: Tensor, Q: Tensor) -> Iterator[tuple[Tensor, Tensor, slice]]:
    """Keys, values and their columns of the mask: the prefix in blocks, the suffix in the last one."""
    N, S = K.shape[2], k.shape[2]
    entries = CPU_BLOCK if Q.device.type == "cpu" else _GPU_BLOCK
    step = max(64, entries // max(1, Q.shape[0] * Q.shape[1] * Q.shape[2]))
    whole = N // step * step
    for n in range(0, whole, step):
        at = slice(n, n + step)
        yield K[:, :, at], V[:, :, at], at
    yield torch.cat([K[:, :, whole:], k], 2), torch.cat([V[:, :, whole:], v], 2), slice(whole, N + S)


def _scores(
    Q: Tensor, keys: Tensor, mask: Tensor | None, at: slice, scale: float, softcap: float | None, S: int
) -> Tensor:
    s = (Q @ keys.transpose(-1, -2)).float().mul_(scale)
    if softcap is not None:
        s = s.div_(softcap).tanh_().mul_(softcap)
    if mask is None:
        return s
    seen = mask[..., at].unsqueeze(3)  # (B, 1, S, 1, block)
    grouped = s.view(*s.shape[:2], S, -1, s.shape[-1])
    return grouped.masked_fill_(~seen, float("-inf")).view(s.shape)
