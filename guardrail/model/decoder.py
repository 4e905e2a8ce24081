"""One pass of a decoder over token ids, whatever the installed transformers calls the KV cache."""

from __future__ import annotations

from collections.abc import Callable
from inspect import signature
from typing import Any

import torch
from torch import Tensor, nn
from transformers import Cache


def cache_keyword(call: Callable[..., Any]) -> str:
    """What it takes a KV cache under: `cache` since transformers 5.24; `past_key_values` before, and in models of their own
    code. The other name warns, or is swallowed by `**kwargs`."""
    return "cache" if "cache" in signature(call).parameters else "past_key_values"


def run_decoder(
    decoder: nn.Module,
    ids: Tensor,
    *,
    mask: Tensor | None = None,
    positions: Tensor | None = None,
    cache: Cache | None = None,
    use_cache: bool | None = None,
) -> Any:
    """Token ids, (B, S), -> the decoder's output, as transformers gives it: `last_hidden_state` (B, S, D).

    mask: (B, C + S), 1 for what attention sees, over the C tokens in the cache too; by default all of it, said outright because
    some models warn of padding where nothing is said. positions: (1 or B, S). cache: read, and filled. use_cache: by default,
    whether a cache is given; without one the model makes its own.
    """
    if mask is None:
        mask = torch.ones(
            (len(ids), ids.shape[1] + (0 if cache is None else cache.get_seq_length())), device=ids.device
        ).long()
    given = {"attention_mask": mask, "position_ids": positions, cache_keyword(decoder.forward): cache}
    use_cache = cache is not None if use_cache is None else use_cache
    return decoder(input_ids=ids, use_cache=use_cache, **{k: v for k, v in given.items() if v is not None})
