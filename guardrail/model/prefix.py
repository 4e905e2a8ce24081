"""Attention to a prefix that stays where it is: the suffix's queries read the prefix's keys and values in place.

transformers' own attention concatenates prefix and suffix in every layer, repeats keys and values for grouped queries, and
its backward pass makes gradients for all of them: memory that grows with the prompt, although the prefix is a constant.
Here the prefix is read in blocks, has no gradient, and is not copied, but for what does not fill a block. It enters a model
through transformers' `AttentionInterface`; `anatomy.py` proves on a forward pass whether a model takes it. Knows nothing
about scores.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pad
from transformers import AttentionInterface, AttentionMaskInterface, DynamicCache
from transformers.cache_utils import DynamicLayer
from transformers.masking_utils import sdpa_mask

from guardrail.model.live import Live

_NAME = "guardrail_prefix"
_CPU_BLOCK = 2**18  # entries of one block of attention scores: 1 MiB in float32, which stays in the cache
_GPU_BLOCK = 2**22
_STORED = 2**20  # attention weights of a layer that the backward pass gets rather than computes again: 4 MiB
_SHORT = 256  # positions of a prefix up to which it does: beyond, memory would grow with the prompt


def cache_of(
    kept: list[tuple[Tensor, Tensor] | None], length: int, *, in_place: bool, live: Live | None = None
) -> DynamicCache:
    """A cache of `length` positions whose layers hold `kept` keys and values, (B, heads, length, head_dim), uncopied.

    None stands for a layer that will not run. in_place: for `attend_in_place`; else the layers concatenate, as usual.
    """
    cache = DynamicCache()
    cache.layers = [_layer(kv, length, _InPlaceLayer if in_place else _Layer) for kv in kept]
    for layer in cache.layers:
        layer.live = live or Live()
    return cache


def attend_in_place(stack: ExitStack, decoder: nn.Module) -> None:
    """Until `stack` is left, the decoder's attention takes what `cache_of(..., in_place=True)` hands it."""
    config: Any = decoder.config
    before = config._attn_implementation
    stack.callback(setattr, config, "_attn_implementation", before)
    config._attn_implementation = _NAME


class _Layer(DynamicLayer):  # type: ignore[misc]  # transformers is untyped
    """Knows its length even where it holds nothing, since masks are sized by the first layer."""

    length = 0
    live = Live()

    def get_seq_length(self) -> int:
        return self.length if self.keys is None else int(self.keys.shape[-2])


class _InPlaceLayer(_Layer):
    """Hands on the suffix's keys and values alone; the attention finds the prefix's on the tensor."""

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        empty = self.keys is None
        prefix = (key_states[:, :, :0], value_states[:, :, :0]) if empty else (self.keys, self.values)
        key_states.guardrail_prefix = (*(x.detach() for x in prefix), self.live)  # type: ignore[attr-defined]
        return key_states, value_states


def _layer(kv: tuple[Tensor, Tensor] | None, length: int, kind: type[_Layer]) -> _Layer:
    layer = kind()
    layer.length = length
    layer.keys = layer.values = None
    if kv is not None:
        layer.keys, layer.values = kv
        layer.dtype, layer.device = kv[0].dtype, kv[0].device
        layer.is_initialized = True
    return layer


def _mask(*args: Any, **kwargs: Any) -> Tensor | None:
    """(B, 1, S, N + S), True where a query may look; always made, since we have no `is_causal`."""
    mask: Tensor | None = sdpa_mask(*args, **{**kwargs, "allow_is_causal_skip": False})
    return mask


def _attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    softcap: float | None = None,
    s_aux: Tensor | None = None,
    position_bias: Tensor | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """transformers' attention function: (B, heads, S, head_dim) -> (B, S, heads, head_dim)."""
    if position_bias is not None:
        raise NotImplementedError("attention with a position bias")
    # without a prefix where somebody calls the model beside us, from another thread and past the lock
    prefix_keys, prefix_values, live = getattr(key, "guardrail_prefix", (key[:, :, :0], value[:, :, :0], Live()))
    scaling = query.shape[-1] ** -0.5 if scaling is None else scaling
    prefix = (prefix_keys, prefix_values)
    weights = query.shape[:3].numel() * (prefix_keys.shape[2] + key.shape[2])
    out: Tensor
    if softcap is None and weights <= _STORED and prefix_keys.shape[2] <= _SHORT:
        out = _StoredAttention.apply(  # type: ignore[no-untyped-call]
            query, key, value, *prefix, attention_mask, scaling, s_aux, live
        )
    else:
        out = _PrefixAttention.apply(  # type: ignore[no-untyped-call]
            query, key, value, *prefix, attention_mask, scaling, softcap, s_aux, live
        )
    return out.transpose(1, 2).contiguous(), None


AttentionInterface.register(_NAME, _attend)
AttentionMaskInterface.register(_NAME, _mask)


class _StoredAttention(torch.autograd.Function):
    """As `_PrefixAttention`, for few positions: one block, whose softmax weights are kept for the backward pass.

    Of a backward pass through the first `live.rows` positions only those are computed: a causal model's others are zero.
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
        sinks: Tensor | None,
        live: Live,
    ) -> Tensor:
        B, heads, S, d = q.shape
        groups = heads // k.shape[1]
        Q = q.reshape(B, k.shape[1], groups * S, d)
        keys, values = torch.cat([K, k], 2), torch.cat([V, v], 2)
        s = _scores(Q, keys, mask, slice(None), scale, None, S)
        peak = s.amax(-1, keepdim=True).clamp_(min=torch.finfo(torch.float32).min)
        sink = None
        if sinks is not None:
            sink = sinks.float().view(1, k.shape[1], groups, 1).expand(B, -1, -1, S).reshape(*Q.shape[:3], 1)
            peak = torch.maximum(peak, sink)
        p = s.sub_(peak).exp_()
        total = p.sum(-1, keepdim=True)
        total = total.clamp_(min=torch.finfo(torch.float32).tiny) if sink is None else total + (sink - peak).exp_()
        p.div_(total)
        out = p.to(values.dtype) @ values
        ctx.save_for_backward(Q, keys, values, p, out)
        ctx.scale, ctx.live, ctx.shape, ctx.own = scale, live, q.shape, k.shape[2]
        return out.to(q.dtype).view(B, heads, S, -1)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        Q, keys, values, p, out = ctx.saved_tensors
        B, heads, S, d = ctx.shape
        N = keys.shape[2] - ctx.own
        n = ctx.live.of(S)
        dO = grad.reshape(out.shape)
        if n < S:
            Q, p, out, dO = (_live_rows(x, S, n) for x in (Q, p, out, dO))
            keys, values, p = keys[:, :, : N + n], values[:, :, : N + n], p[..., : N + n]
        dS = (dO @ values.transpose(-1, -2)).float().sub_((dO.float() * out).sum(-1, keepdim=True))
        dS = dS.mul_(p).mul_(ctx.scale).to(Q.dtype)
        dq = (dS @ keys).view(B, heads, n, d)
        dk = dS[..., N:].transpose(-1, -2) @ Q
        dv = p[..., N:].to(dO.dtype).transpose(-1, -2) @ dO
        return (*_padded((dq, dk, dv), S), *[None] * 6)


class _PrefixAttention(torch.autograd.Function):
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
        B, heads, S, d = q.shape
        groups = heads // k.shape[1]
        Q = q.reshape(B, k.shape[1], groups * S, d)
        if sinks is None:
            peak = Q.new_full((*Q.shape[:3], 1), torch.finfo(torch.float32).min, dtype=torch.float32)
            total = torch.zeros_like(peak)
        else:  # a learned logit that takes its share of the softmax and gives no value
            peak = sinks.float().view(1, k.shape[1], groups, 1).expand(B, -1, -1, S).reshape(*Q.shape[:3], 1)
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
        ctx.save_for_backward(q, k, v, out, peak + total.log())
        ctx.prefix, ctx.mask, ctx.scale, ctx.softcap, ctx.live = (K, V), mask, scale, softcap, live
        return out.to(q.dtype).view(B, heads, S, -1)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, out, log_total = ctx.saved_tensors
        K, V = ctx.prefix
        whole, mask = q.shape[2], ctx.mask
        S = ctx.live.of(whole)
        dO = grad.reshape(out.shape)
        if whole > S:
            out, log_total, dO = (_live_rows(x, whole, S) for x in (out, log_total, dO))
            q, k, v = q[:, :, :S], k[:, :, :S], v[:, :, :S]
            mask = None if mask is None else mask[..., :S, : K.shape[2] + S]
        Q = q.reshape(*out.shape[:3], q.shape[-1])
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
        return (*_padded((dQ.to(q.dtype).view(q.shape), dk, dv), whole), *[None] * 7)


def _live_rows(x: Tensor, S: int, n: int) -> Tensor:
    """(B, Hkv, groups * S, d) -> (B, Hkv, groups * n, d): each group's first n."""
    return x.reshape(*x.shape[:2], -1, S, x.shape[-1])[..., :n, :].flatten(2, 3)


def _padded(grads: tuple[Tensor, Tensor, Tensor], S: int) -> tuple[Tensor, ...]:
    """(B, heads, n, d) -> (B, heads, S, d): zero behind the live rows."""
    return tuple(g if g.shape[2] == S else pad(g, (0, 0, 0, S - g.shape[2])) for g in grads)


def _blocks(K: Tensor, V: Tensor, k: Tensor, v: Tensor, Q: Tensor) -> Iterator[tuple[Tensor, Tensor, slice]]:
    """Keys, values and their columns of the mask: the prefix in blocks, the suffix in the last one."""
    N, S = K.shape[2], k.shape[2]
    entries = _CPU_BLOCK if Q.device.type == "cpu" else _GPU_BLOCK
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
    seen = mask[..., at].unsqueeze(2)  # (B, 1, 1, S, block)
    grouped = s.view(*s.shape[:2], -1, S, s.shape[-1])
    return grouped.masked_fill_(~seen, float("-inf")).view(s.shape)
