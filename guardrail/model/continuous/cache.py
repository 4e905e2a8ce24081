"""The KV cache of rows that come and go: every row ends at the same column, as in a left-padded batch.

Columns differ by as much as positions do, so causal and sliding-window masks hold. What stands left of a row is zero, and never
the numbers of a row before it: those may be NaN, and no mask takes NaN out of a product. Knows nothing about what rows mean.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import Cache, DynamicCache
from transformers.cache_utils import DynamicLayer

_SPARE = 64  # columns at least between two moves of the whole cache


class _Layer(DynamicLayer):  # type: ignore[misc]
    """Keys and values of one layer, (rows, heads, columns, head_dim), allocated ahead."""

    def __init__(self, shared: SharedCache, like: DynamicLayer) -> None:
        super().__init__()
        self.shared, self.dtype, self.device = shared, like.dtype, like.device
        self.buffers = [_zeros(x, 0, 0) for x in (like.keys, like.values)]
        self.is_initialized = True

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        at = self.shared
        rows, end = at.rows, at.end
        for buffer, new in zip(self.buffers, (key_states, value_states), strict=True):
            buffer[rows, :, end : end + 1] = new
        keys, values = (buffer[rows, :, at.start : end + 1] for buffer in self.buffers)
        return keys, values

    def get_seq_length(self) -> int:
        return self.shared.end - self.shared.start


class SharedCache:
    """Rows of one model, one pass for all of them: `ready()`, a pass with `cache` and `mask()`, `advance()`.

    Attributes:
        lengths: Tokens of each row, in the order of the batch.
        end: The column behind every row's last token.
        cache: For the model.
        part: The rows of the next pass; None is all of them.
    """

    def __init__(self) -> None:
        self.lengths: list[int] = []
        self.end = 0
        self.cache = DynamicCache()
        self.part: slice | None = None

    @property
    def rows(self) -> slice:
        """Those of the next pass."""
        return self.part or slice(len(self.lengths))

    @property
    def start(self) -> int:
        """The first column of the longest row: what stands before it is padding of all."""
        return self.end - max(self.lengths, default=0)

    def add(self, filled: Cache, length: int) -> None:
        """A row more, at the end of the batch: of a prompt that ran alone. Raises `ValueError` for layers of another kind;
        after any other error, here or in `ready`, layers may have been moved and others not: no row can go on."""
        if not all(type(layer) is DynamicLayer and layer.get_seq_length() == length for layer in filled.layers):
            raise ValueError("only caches that keep every position of every layer can be merged")
        if not self.cache.layers:
            self.cache.layers = [_Layer(self, layer) for layer in filled.layers]
        row = len(self.lengths)
        self._make_room(row + 1, max(length, *self.lengths, 0))
        for mine, theirs in zip(self.cache.layers, filled.layers, strict=True):
            for buffer, new in zip(mine.buffers, (theirs.keys, theirs.values), strict=True):
                buffer[row, :, : self.end - length] = 0
                buffer[row, :, self.end - length : self.end] = new[0]
        self.lengths.append(length)

    def remove(self, row: int) -> None:
        """The last row takes its place."""
        last = len(self.lengths) - 1
        if row != last:
            for layer in self.cache.layers:
                for buffer in layer.buffers:
                    buffer[row, :, : self.end] = buffer[last, :, : self.end]
        self.lengths[row] = self.lengths[last]
        self.lengths.pop()
        if not self.lengths:  # nothing stays allocated for nobody
            self.end, self.cache = 0, DynamicCache()

    def ready(self) -> None:
        """Make room for a column more."""
        self._make_room(len(self.lengths), max(self.lengths))

    def mask(self, device: torch.device) -> Tensor:
        """(rows, columns and the one to come): 1 for the tokens of each row."""
        width = self.end - self.start + 1
        lengths = torch.tensor(self.lengths[self.rows], device=device).unsqueeze(1)
        return (torch.arange(width, device=device) >= width - 1 - lengths).long()

    def advance(self) -> None:
        """Every row has had its pass."""
        self.end += 1
        self.lengths = [length + 1 for length in self.lengths]

    def row(self, row: int) -> RowOfCache:
        """What is cached of one row."""
        return RowOfCache(self, row)

    def _make_room(self, rows: int, longest: int) -> None:
        """Columns for the longest row in front of `end`, one behind it, and so many rows; moves all where there are none."""
        buffer = self.cache.layers[0].buffers[0]
        if rows <= buffer.shape[0] and longest <= self.end < buffer.shape[2]:
            return
        wide, high = longest + max(_SPARE, longest // 2), max(rows, min(2 * len(self.lengths), 2 * rows))
        kept, old = len(self.lengths), max(self.lengths, default=0)
        for layer in self.cache.layers:
            for i, before in enumerate(layer.buffers):
                layer.buffers[i] = _zeros(before, high, wide)
                layer.buffers[i][:kept, :, longest - old : longest] = before[:kept, :, self.end - old : self.end]
        self.end = longest


class RowOfCache:
    """The layers of one row, as `GenerationState` keeps them: copies, made when they are asked for."""

    def __init__(self, shared: SharedCache, row: int) -> None:
        self._shared, self._row = shared, row

    @property
    def layers(self) -> RowOfCache:
        return self

    def __getitem__(self, layers: slice) -> Sequence[DynamicLayer]:
        shared, row = self._shared, self._row
        found = []
        for layer in shared.cache.layers[layers]:
            own = DynamicLayer()
            at = slice(shared.end - shared.lengths[row], shared.end)
            own.keys, own.values = (buffer[row : row + 1, :, at].clone() for buffer in layer.buffers)
            found.append(own)
        return found


def _zeros(like: Tensor, rows: int, columns: int) -> Tensor:
    return like.new_zeros((rows, like.shape[1], columns, like.shape[3]))
