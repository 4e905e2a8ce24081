"""One pass for rows that share a cache, or several for parts of them where that one fails. Knows no answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from guardrail.errors import ModelError
from guardrail.kernels.frozen import untouched
from guardrail.kernels.memory import is_out_of_memory
from guardrail.model.continuous.cache import SharedCache
from guardrail.model.continuous.row import Row
from guardrail.model.loaded import LoadedModel
from guardrail.model.recording import listen_to_rows

Forward = Callable[[Tensor, Tensor], Tensor]
"""Tokens (B, 1) and the mask of what is cached and of them -> logits (B, V)."""


class SharedPassError(ModelError):
    """A pass for an answer has failed in the shared loop, or what all of them are kept in."""


def failed(error: Exception) -> SharedPassError:
    """What a row's caller is told of an error of its pass."""
    why = SharedPassError(f"a pass for this answer has failed ({error}); ask again")
    why.__cause__ = error
    return why


class Parts:
    """Passes of rows. A row fails that fails alone, and no other; what does not fit into memory together fits in parts."""

    def __init__(self, local: LoadedModel, max_rows: int) -> None:
        self._local, self._max_rows = local, max_rows
        self._most = max_rows  # of one pass: fewer while memory is too small for more

    def run(self, rows: Sequence[Row], cache: SharedCache, forward: Forward) -> list[Tensor | SharedPassError]:
        """One pass for each row: its logits, (1, V), or why it failed."""
        if len(rows) <= self._most:
            self._most = self._max_rows
        most = self._most
        parts = [slice(at, min(at + most, len(rows))) for at in range(0, len(rows), most)]
        return [each for part in parts for each in self._part(rows, part, cache, forward)]

    def _part(
        self, all_rows: Sequence[Row], part: slice, cache: SharedCache, forward: Forward
    ) -> list[Tensor | SharedPassError]:
        rows, cache.part = all_rows[part], part
        try:
            with untouched(self._local.model, watched=True) as stack:
                listen_to_rows(stack, [row.run.recording for row in rows])
                tokens = torch.cat([row.out[:, -1:] for row in rows])
                logits = forward(tokens, cache.mask(self._local.device))
                return [logits[r : r + 1] for r in range(len(rows))]
        except Exception as error:
            if len(rows) == 1:
                return [failed(error)]
            if is_out_of_memory(error):
                self._most = len(rows) // 2
        finally:
            cache.part = None
        # outside the handler: the exception's traceback holds every tensor of the failed try
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        half = part.start + len(rows) // 2
        halves = slice(part.start, half), slice(half, part.start + len(rows))
        return [each for half_of in halves for each in self._part(all_rows, half_of, cache, forward)]
