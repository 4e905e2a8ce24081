"""What prompts begin with, run once: the KV cache of beginnings that came twice, such as a system message or a template.

In a causal model the keys and values of a token depend on what stands before it alone, so a prompt that goes on from kept ones
has the states that it would have by itself. Knows nothing about answers.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from itertools import takewhile

import torch
from transformers import Cache
from transformers.cache_utils import DynamicLayer

Ids = tuple[int, ...]

_LEAST = 8  # tokens: fewer are not worth a copy
_PROMPTS = 16  # that a new one is compared with
_KEPT_BYTES = 256 * 2**20


class Prefixes:
    """Beginnings of prompts with their keys and values; for one thread.

    most_bytes: what all that is kept may take.

        cached = prefixes.longest(prompt, most=len(prompt) - 1, version=version)  # so many tokens need not run
        prefixes.fill(cache, [prompt], [cached])
        ...                                                   # the prompt's pass, over prompt[cached:]
        prefixes.seen(prompt, cache, version)
    """

    def __init__(self, *, most_bytes: int = _KEPT_BYTES) -> None:
        self._most_bytes = most_bytes
        self._recent: deque[Ids] = deque(maxlen=_PROMPTS)
        self._kept: dict[Ids, list[tuple[torch.Tensor, torch.Tensor]]] = {}  # the one used last stands last
        self._version: int | None = None

    @property
    def bytes(self) -> int:
        """What is kept, in bytes."""
        return sum(x.nbytes for layers in self._kept.values() for kv in layers for x in kv)

    def longest(self, prompt: Sequence[int], *, most: int, version: int) -> int:
        """How many tokens a prompt begins with that are kept, 0 to `most`; few count as none.

        version: of the weights; what others computed is forgotten.
        """
        if version != self._version:
            self._kept.clear()
            self._version = version
        length = max((min(common(ids, prompt), most) for ids in self._kept), default=0)
        return length if length >= _LEAST else 0

    def fill(self, cache: Cache, prompts: Sequence[Sequence[int]], lengths: Sequence[int]) -> None:
        """Put what prompts begin with into an empty cache, a row each: so many tokens, at most as many as `longest` found.

        Rows end at the same column; what stands left of one that has fewer tokens is zero.
        """
        width = max(lengths)
        if not width:
            return
        found = []
        for prompt, length in zip(prompts, lengths, strict=True):
            _, ids = max((min(common(ids, prompt), length), ids) for ids in self._kept)
            self._kept[ids] = self._kept.pop(ids)
            found.append(self._kept[ids])
        cache.layers = [
            layer_of(*(_rows_of([layer[i] for layer in layers], lengths, width) for i in (0, 1)))
            for layers in zip(*found, strict=True)
        ]

    def seen(self, prompt: Sequence[int], cache: Cache, version: int) -> None:
        """A prompt has run and filled its cache; keep what it has in common with one before it."""
        if version != self._version:
            return
        ids = tuple(prompt)
        shared = ids[: max((common(other, ids) for other in self._recent), default=0)]
        if ids not in self._recent:  # one prompt again and again would push all others out
            self._recent.append(ids)
        if len(shared) < _LEAST or any(kept[: len(shared)] == shared for kept in self._kept):
            return
        if not all(type(layer) is DynamicLayer and layer.get_seq_length() >= len(shared) for layer in cache.layers):
            return
        at = slice(len(shared))
        size = sum(x[:, :, at].nbytes for layer in cache.layers for x in (layer.keys, layer.values))
        if size > self._most_bytes:
            return
        for kept in [kept for kept in self._kept if shared[: len(kept)] == kept]:  # the longer one holds it
            del self._kept[kept]
        while self._kept and self.bytes + size > self._most_bytes:
            del self._kept[next(iter(self._kept))]
        self._kept[shared] = [(layer.keys[:, :, at].clone(), layer.values[:, :, at].clone()) for layer in cache.layers]


def common(a: Sequence[int], b: Sequence[int]) -> int:
    """How many tokens both begin with."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(a, b, strict=False)))


def layer_of(keys: torch.Tensor, values: torch.Tensor) -> DynamicLayer:
    """Uncopied: a layer appends by concatenation, and never writes into what it has."""
    layer = DynamicLayer()
    layer.keys, layer.values, layer.dtype, layer.device = keys, values, keys.dtype, keys.device
    layer.is_initialized = True
    return layer


def _rows_of(kept: Sequence[torch.Tensor], lengths: Sequence[int], width: int) -> torch.Tensor:
    """(1, heads, tokens, head_dim) of each row -> one tensor, so many first ones in its last columns; a view of one."""
    if len(kept) == 1:
        return kept[0][:, :, :width]
    rows = kept[0].new_zeros((len(kept), kept[0].shape[1], width, kept[0].shape[3]))
    for row, x, n in zip(rows, kept, lengths, strict=True):
        row[:, width - n :] = x[0, :, :n]
    return rows
