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
from transformers import AttentionInterface, AttentionMaskInterface, DynamicCache
from transformers.cache_utils import DynamicLayer
from transformers.masking_utils import sdpa_mask

_NAME = "guardrail_prefix"
_CPU_BLOCK = 2**18  # entries of one block of attention scores: 1 MiB in float32, which stays in the cache
_GPU_BLOCK = 2**22


def cache_of(kept: list[tuple[Tensor, Tensor] | None], length: int, *, in_place: bool) -> DynamicCache:
    """A cache of `length` positions whose layers hold `kept` keys and values, (B, heads, length, head_dim), uncopied.

    None stands for a layer that will not run. in_place: for `attend_in_place`; else the layers concatenate, as usual.
    """
    cache = DynamicCache()
    cache.layers = [_layer(kv, length, _InPlaceLayer if in_place else _Layer) for kv in kept]
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

    def get_seq_length(self) -> int:
        return self.length if self.keys is None else int(self.keys.shape[-2])


class _InPlaceLayer(_Layer):
    """Hands on the suffix's keys and values alone; the attention finds the prefix's on the tensor."""

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        empty = self.keys is None
        prefix = (key_states[:, :, :0], value_states[:, :, :0]) if empty else (self.keys, self.values)
        key_states.guardrail_prefix = tuple(x.detach() for x in prefix)  # type: ignore[attr-defined]
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
    prefix_keys, prefix_values = getattr(key, "guardrail_prefix", (key[:, :, :0], value[:, :, :0]))
    scaling = query.shape[-1] ** -0.5 if scaling is None else scaling
    out: Tensor = _PrefixAttention.apply(  # type: ignore[no-untyped-call]
        query, key, value, prefix_keys, prefix_values, attention_mask, scaling, softcap, s_aux
    )
    return out.transpose(1, 2).contiguous(), None


AttentionInterface.register(_NAME, _attend)
AttentionMaskInterface.register(_NAME, _mask)


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
        ctx.prefix, ctx.mask, ctx.scale, ctx.softcap = (K, V), mask, scale, softcap
        return out.to(q.dtype).view(B, heads, S, -1)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, out, log_total = ctx.saved_tensors
        K, V = ctx.prefix
        S = q.shape[2]
        Q = q.reshape(*out.shape[:3], q.shape[-1])
        dO = grad.reshape(out.shape)
        drain = (dO.float() * out).sum(-1, keepdim=True)
        dQ: Tensor | float = 0.0
        dS = p = Q
        for keys, values, at in _blocks(K, V, k, v, Q):
            s = _scores(Q, keys, ctx.mask, at, ctx.scale, ctx.softcap, S)
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
        return dQ.to(q.dtype).view(q.shape), dk, dv, None, None, None, None, None, None


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
