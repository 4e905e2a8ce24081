"""Prompts as one batch: their token ids padded, and what all of them begin with, run once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor
from transformers import Cache

from guardrail.kernels.frozen import weights_version
from guardrail.kernels.prefix import cache_of
from guardrail.model.decoder import cache_keyword, run_decoder
from guardrail.model.loaded import LoadedModel
from guardrail.types import GenerationState


def pad(rows: Sequence[Sequence[int]], fill: int, *, left: bool = False) -> tuple[Tensor, Tensor]:
    """Token ids and their mask, (B, S) on the CPU: on the right, which a causal model does not see, or on the left.

    pad([[5, 6], [7]], 0)  # ids [[5, 6], [7, 0]], mask [[1, 1], [1, 0]]
    """
    width = max(map(len, rows))
    ids = torch.full((len(rows), width), fill, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for r, row in enumerate(rows):
        at = slice(width - len(row), None) if left else slice(len(row))
        ids[r, at] = torch.tensor(list(row), dtype=torch.long)
        mask[r, at] = 1
    return ids, mask


def shared_prefix(local: LoadedModel, ids: Sequence[int], rows: int, cache: Cache | None = None) -> Cache:
    """The KV cache of the tokens that `rows` prompts begin with, a row for each prompt: the tokens run once.

    cache: the one to fill; by default one of the model's own kind. Inside `untouched`, without gradients.
    """
    head = torch.tensor([list(ids)], device=local.device)
    decoder = local.anatomy.decoder
    filled = run_decoder(decoder, head, cache=cache, use_cache=True)[cache_keyword(decoder.forward)]
    filled.batch_repeat_interleave(rows)
    return cast(Cache, filled)


def kept_prefix(local: LoadedModel, state: GenerationState | None, ids: Sequence[int]) -> tuple[Cache | None, int]:
    """What generation kept of the tokens that `ids` begins with: their KV cache, one row, and how many they are.

    None and 0 where nothing was kept, or by other weights, or where the first token is another one already. A position's keys
    depend on nothing behind it, so what both begin with is used, token by token alike, and no more.
    """
    if state is None or not local.anatomy.cached or state.weights != weights_version(local.model):
        return None, 0
    keys, values = (*state.lower_keys, *state.cache_keys), (*state.lower_values, *state.cache_values)
    if len(keys) < len(local.anatomy.layers):
        return None, 0
    kept = state.ids[:-1]  # the last token's own were not computed
    same = next((i for i, (a, b) in enumerate(zip(kept, ids, strict=False)) if a != b), min(len(kept), len(ids)))
    if not same:
        return None, 0
    return cache_of(
        [(k[:, :, :same], v[:, :, :same]) for k, v in zip(keys, values, strict=True)], same, in_place=False
    ), same
