"""Attention to a constant prefix, which is read where it lies, and to a suffix, for which alone there is a backward pass."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from guardrail.kernels.live_rows import LiveRows

CPU_BLOCK = 2**18  # entries of one block of attention scores: 1 MiB in float32, which stays in the cache
_GPU_BLOCK = 2**22


@dataclass(frozen=True, slots=True, eq=False)
class Prefix:
    """What a suffix attends to beside itself, and how. All of it is constant.

    Attributes:
        K: Keys, (B, Hkv, N, d).
        V: Values, (B, Hkv, N, d).
        mask: (B, 1, S, N + S), True where a query may look; None: everywhere.
        scale: Multiplies the scores, q k^T.
        softcap: If set, scores become softcap * tanh(scores / softcap).
        sinks: (Hq,), a learned logit of each head that takes its share of the softmax and gives no value.
        live: The rows that a backward pass goes through.
        block: Entries of one block of attention scores; by default what suits the device.
    """

    K: Tensor
    V: Tensor
    mask: Tensor | None
    scale: float
    softcap: float | None = None
    sinks: Tensor | None = None
    live: LiveRows = field(default_factory=LiveRows)
    block: int | None = None

    def scores(self, Q: Tensor, keys: Tensor, at: slice) -> Tensor:
        """(B, Hkv, S * groups, block), float32, -inf where masked. at: the keys' columns of the mask."""
        s = (Q @ keys.transpose(-1, -2)).float().mul_(self.scale)
        if self.softcap is not None:
            s = s.div_(self.softcap).tanh_().mul_(self.softcap)
        if self.mask is None:
            return s
        seen = self.mask[..., at].unsqueeze(3)  # (B, 1, S, 1, block)
        grouped = s.view(*s.shape[:2], seen.shape[2], -1, s.shape[-1])
        return grouped.masked_fill_(~seen, float("-inf")).view(s.shape)

    def blocks(self, k: Tensor, v: Tensor, Q: Tensor) -> Iterator[tuple[Tensor, Tensor, slice]]:
        """Keys, values and their columns of the mask: the prefix in blocks, the suffix in the last one."""
        N, S = self.K.shape[2], k.shape[2]
        entries = self.block or (CPU_BLOCK if Q.device.type == "cpu" else _GPU_BLOCK)
        step = max(64, entries // max(1, Q.shape[0] * Q.shape[1] * Q.shape[2]))
        whole = N // step * step
        for n in range(0, whole, step):
            at = slice(n, n + step)
            yield self.K[:, :, at], self.V[:, :, at], at
        keys, values = torch.cat([self.K[:, :, whole:], k], 2), torch.cat([self.V[:, :, whole:], v], 2)
        yield keys, values, slice(whole, N + S)


def attention_weights(q: Tensor, k: Tensor, prefix: Prefix) -> Tensor:
    """What each query of a suffix gives to each key, (B, Hq, S, N + S), float32; rows sum to 1, less what sinks take.

    q: (B, Hq, S, d); k: (B, Hkv, S, d), of the suffix.
    """
    Q = _grouped(q, k.shape[1])
    s = prefix.scores(Q, torch.cat([prefix.K, k], 2), slice(None))
    scores = s if prefix.sinks is None else torch.cat([s, _sinks(prefix.sinks, Q)], -1)
    return _ungrouped(scores.softmax(-1)[..., : s.shape[-1]], q.shape[2])


class StoredAttention(torch.autograd.Function):
    """As `PrefixAttention`, for few positions: one block, whose softmax weights are kept for the backward pass."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, prefix: Prefix) -> Tensor:
        Q = _grouped(q, k.shape[1])
        keys, values = torch.cat([prefix.K, k], 2), torch.cat([prefix.V, v], 2)
        s = prefix.scores(Q, keys, slice(None))
        peak = s.amax(-1, keepdim=True).clamp_(min=torch.finfo(torch.float32).min)
        sink = None
        if prefix.sinks is not None:
            sink = _sinks(prefix.sinks, Q)
            peak = torch.maximum(peak, sink)
        p = s.sub_(peak).exp_()
        total = p.sum(-1, keepdim=True)
        total = total.clamp_(min=torch.finfo(torch.float32).tiny) if sink is None else total + (sink - peak).exp_()
        p.div_(total)
        out = p.to(values.dtype) @ values
        ctx.save_for_backward(Q, keys, values, p, out)
        ctx.prefix, ctx.own = prefix, k.shape[2]
        return _ungrouped(out.to(q.dtype), q.shape[2])

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        Q, keys, values, p, out = ctx.saved_tensors
        stored = _Stored(Q, keys, values, p, out, ctx.prefix, ctx.own)
        return *_StoredGradients.apply(grad, stored), None  # type: ignore[no-untyped-call]


@dataclass(frozen=True, slots=True, eq=False)
class _Stored:
    """What `StoredAttention` keeps. own: S, how many of the keys are the suffix's."""

    Q: Tensor
    keys: Tensor
    values: Tensor
    p: Tensor
    out: Tensor
    prefix: Prefix
    own: int

    def gradients(self, grad: Tensor, n: int) -> tuple[Tensor, Tensor, Tensor]:
        """dq, dk and dv of the first n of `own` positions: a causal model's others are zero."""
        N, rows = self.keys.shape[2] - self.own, self.Q.shape[2] // self.own * n
        Q, out, p = self.Q[:, :, :rows], self.out[:, :, :rows], self.p[:, :, :rows, : N + n]
        keys, values = self.keys[:, :, : N + n], self.values[:, :, : N + n]
        dO = _grouped(grad[:, :, :n], keys.shape[1])
        dS = (dO @ values.transpose(-1, -2)).float().sub_((dO.float() * out).sum(-1, keepdim=True))
        dS = dS.mul_(p).mul_(self.prefix.scale).to(Q.dtype)  # scaled before it is rounded: float16 would overflow
        dk = dS[..., N:].transpose(-1, -2) @ Q
        dv = p[..., N:].to(dO.dtype).transpose(-1, -2) @ dO
        return _ungrouped(dS @ keys, n), dk, dv


class _StoredGradients(torch.autograd.Function):
    """The backward pass of `StoredAttention`, a function of its own so that under `vmap` each pass runs its live rows only."""

    @staticmethod
    def forward(grad: Tensor, stored: _Stored) -> tuple[Tensor, Tensor, Tensor]:
        return _padded(stored.gradients(grad, stored.prefix.live.of(stored.own)), stored.own)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        pass

    @staticmethod
    def vmap(info: Any, in_dims: Any, grad: Tensor, stored: _Stored) -> tuple[tuple[Tensor, ...], tuple[int, ...]]:
        grads = grad.movedim(in_dims[0], 0)
        passes = [stored.gradients(g, end) for g, end in zip(grads, stored.prefix.live.ends, strict=True)]
        return tuple(map(torch.stack, zip(*(_padded(one, stored.own) for one in passes), strict=True))), (0, 0, 0)


class PrefixAttention(torch.autograd.Function):
    """softmax(scale q [K; k]^T) [V; v] with K and V constant, block by block with a running softmax.

    q: (B, Hq, S, d); k, v: (B, Hkv, S, d), of the suffix. Queries of one group share their keys, so they are treated as one
    longer row of queries. Softmax and sums are float32, whatever the inputs are.
    """

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, prefix: Prefix) -> Tensor:
        Q = _grouped(q, k.shape[1])
        if prefix.sinks is None:
            peak = Q.new_full((*Q.shape[:3], 1), torch.finfo(torch.float32).min, dtype=torch.float32)
            total = torch.zeros_like(peak)
        else:
            peak = _sinks(prefix.sinks, Q)
            total = torch.ones_like(peak)
        out = Q.new_zeros((*Q.shape[:3], v.shape[-1]), dtype=torch.float32)
        for keys, values, at in prefix.blocks(k, v, Q):
            s = prefix.scores(Q, keys, at)
            higher = torch.maximum(peak, s.amax(-1, keepdim=True))
            p = s.sub_(higher).exp_()
            shrink = (peak - higher).exp_()
            total = total * shrink + p.sum(-1, keepdim=True)
            out = out * shrink + (p.to(values.dtype) @ values).float()
            peak = higher
        total.clamp_(min=torch.finfo(torch.float32).tiny)  # a padding query may see nothing at all; 0 / 0 would spread
        out = out / total
        ctx.save_for_backward(Q, k, v, out, peak + total.log())
        ctx.prefix = prefix
        return _ungrouped(out.to(q.dtype), q.shape[2])

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        Q, k, v, out, log_total = ctx.saved_tensors
        prefix, whole = ctx.prefix, k.shape[2]
        S = prefix.live.of(whole)
        rows = Q.shape[2] // whole * S
        Q, out, log_total = Q[:, :, :rows], out[:, :, :rows], log_total[:, :, :rows]
        k, v = k[:, :, :S], v[:, :, :S]
        if prefix.mask is not None:
            prefix = replace(prefix, mask=prefix.mask[..., :S, : prefix.K.shape[2] + S])
        dO = _grouped(grad[:, :, :S], k.shape[1])
        drain = (dO.float() * out).sum(-1, keepdim=True)
        dQ = torch.zeros_like(Q, dtype=torch.float32)
        for keys, values, at in prefix.blocks(k, v, Q):
            s = prefix.scores(Q, keys, at)
            p = (s - log_total).exp_()
            dS = (dO @ values.transpose(-1, -2)).float().sub_(drain).mul_(p).mul_(prefix.scale)
            if prefix.softcap is not None:  # masked scores are -inf here, and p is 0
                dS.mul_(1 - (s / prefix.softcap).clamp_(min=-1).square_())
            dS = dS.to(Q.dtype)
            dQ = dQ + (dS @ keys).float()
        # the last block ends with the suffix, which alone has a gradient
        dk = dS[..., -S:].transpose(-1, -2) @ Q
        dv = p[..., -S:].to(dO.dtype).transpose(-1, -2) @ dO
        return *_padded((_ungrouped(dQ.to(Q.dtype), S), dk, dv), whole), None


def _grouped(x: Tensor, heads: int) -> Tensor:
    """(B, Hq, S, d) -> (B, Hkv, S * groups, d): queries that share their keys as one row, position by position."""
    B, _, S, d = x.shape
    return x.reshape(B, heads, -1, S, d).transpose(2, 3).reshape(B, heads, -1, d)


def _ungrouped(x: Tensor, S: int) -> Tensor:
    """(B, Hkv, S * groups, d) -> (B, Hq, S, d)."""
    B, heads, _, d = x.shape
    return x.reshape(B, heads, S, -1, d).transpose(2, 3).reshape(B, -1, S, d)


def _sinks(sinks: Tensor, Q: Tensor) -> Tensor:
    """(Hq,) -> (B, Hkv, S * groups, 1), in the order of `_grouped`."""
    B, heads, rows, _ = Q.shape
    groups = len(sinks) // heads
    return sinks.float().view(1, heads, 1, groups).expand(B, -1, rows // groups, -1).reshape(B, heads, rows, 1)


def _padded(grads: tuple[Tensor, Tensor, Tensor], S: int) -> tuple[Tensor, Tensor, Tensor]:
    """(B, heads, n, d) -> (B, heads, S, d): zero behind the live rows."""
    dq, dk, dv = (g if g.shape[2] == S else pad(g, (0, 0, 0, S - g.shape[2])) for g in grads)
    return dq, dk, dv
