"""Attention to a prefix that stays where it is: the suffix's queries read the prefix's keys and values in place.

transformers' own attention concatenates prefix and suffix in every layer, repeats keys and values for grouped queries, and
its backward pass makes gradients for all of them: memory that grows with the prompt, although the prefix is a constant.
Here the prefix is read in blocks, has no gradient, and is not copied, but for what does not fill a block. It enters a model
through transformers' `AttentionInterface`; `anatomy.py` proves on a forward pass whether a model takes it.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from typing import Any

from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface, DynamicCache
from transformers.cache_utils import DynamicLayer
from transformers.masking_utils import sdpa_mask

from guardrail.kernels.attention import Prefix, PrefixAttention, StoredAttention, attention_weights
from guardrail.kernels.live_rows import LiveRows

Watch = Callable[[int, Tensor], None]
"""Is shown what each query of a suffix gives to each key in a layer, from 0: (B, heads, S, N + S), float32."""

_NAME = "guardrail_prefix"
MOST_STORED = 2**20  # attention weights of a layer that the backward pass gets rather than computes again: 4 MiB
_SHORT = 256  # positions of a prefix up to which it does: beyond, memory would grow with the prompt


def cache_of(
    kept: list[tuple[Tensor, Tensor] | None],
    length: int,
    *,
    in_place: bool,
    live: LiveRows | None = None,
    watch: Watch | None = None,
) -> DynamicCache:
    """A cache of `length` positions whose layers hold `kept` keys and values, (B, heads, length, head_dim), uncopied.

    None stands for a layer that will not run. in_place: for `attend_in_place`; else the layers concatenate, as usual. watch: is
    shown the attention of each layer that runs, where it is in place.
    """
    cache = DynamicCache()
    cache.layers = [_layer(kv, length, _InPlaceLayer if in_place else _Layer) for kv in kept]
    for index, layer in enumerate(cache.layers):
        layer.live = live or LiveRows()
        layer.watch = None if watch is None else partial(watch, index)
    return cache


def attend_in_place(stack: ExitStack, decoder: nn.Module) -> None:
    """Until `stack` is left, the decoder's attention takes what `cache_of(..., in_place=True)` hands it."""
    AttentionInterface.register(_NAME, _attend)
    AttentionMaskInterface.register(_NAME, _mask)
    config: Any = decoder.config
    before = config._attn_implementation
    stack.callback(setattr, config, "_attn_implementation", before)
    config._attn_implementation = _NAME


class _Layer(DynamicLayer):  # type: ignore[misc]  # transformers is untyped
    """Knows its length even where it holds nothing, since masks are sized by the first layer."""

    length = 0
    live = LiveRows()
    watch: Callable[[Tensor], None] | None = None

    def get_seq_length(self) -> int:
        return self.length if self.keys is None else int(self.keys.shape[-2])


class _InPlaceLayer(_Layer):
    """Hands on the suffix's keys and values alone; the attention finds the prefix's on the tensor.

    The tensor carries them because transformers hands an attention function keys and values, and no cache.
    """

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        empty = self.keys is None
        prefix = (key_states[:, :, :0], value_states[:, :, :0]) if empty else (self.keys, self.values)
        key_states.guardrail_prefix = (*(x.detach() for x in prefix), self.live, self.watch)  # type: ignore[attr-defined]
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
    K, V, live, watch = getattr(key, "guardrail_prefix", (key[:, :, :0], value[:, :, :0], LiveRows(), None))
    scaling = query.shape[-1] ** -0.5 if scaling is None else scaling
    weights = query.shape[:3].numel() * (K.shape[2] + key.shape[2])
    stored = softcap is None and weights <= MOST_STORED and K.shape[2] <= _SHORT
    attention = StoredAttention if stored else PrefixAttention
    prefix = Prefix(K, V, attention_mask, scaling, softcap, s_aux, live)
    if watch is not None:
        watch(attention_weights(query, key, prefix))
    out: Tensor = attention.apply(query, key, value, prefix)  # type: ignore[no-untyped-call]
    return out.transpose(1, 2).contiguous(), None
