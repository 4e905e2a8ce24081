"""The pass of prompts: those that wait together and go on from the same beginning run in one. Knows no answers.

Every row of such a pass runs the same number of tokens, so that none is padding: one with fewer left runs some of the beginning
again. All rows end at the same column, as in `SharedCache`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache

from guardrail.kernels.frozen import untouched
from guardrail.kernels.passes import WEIGHTS_READ
from guardrail.model.continuous.prefixes import Prefixes, common, layer_of
from guardrail.model.continuous.row import Row
from guardrail.model.loaded import LoadedModel
from guardrail.model.recording import listen_to_rows

Forward = Callable[[LoadedModel, Tensor, Tensor, Any], Tensor]
"""Tokens (B, S), the mask of what is cached and of them, a cache to fill -> logits (B, V) of the last tokens."""

_MOST = 512  # positions of one pass for several prompts: those that are answered already wait for it


class Prefill:
    """Runs prompts; for one thread. forward: the model's pass."""

    def __init__(self, local: LoadedModel, forward: Forward) -> None:
        self._local, self._forward = local, forward
        self._prefixes = Prefixes()

    def group(self, rows: Sequence[Row], version: int) -> list[Row]:
        """The first of the rows, with those behind it that cost less in its pass than in their own. version: of the weights."""
        first, *others = rows
        least = self._prefixes.longest(first.prompt, most=_most(first), version=version)
        group = [first]
        for row in others:
            length = min(least, self._prefixes.longest(row.prompt, most=_most(row), version=version))
            lengths = [len(r.prompt) for r in (*group, row)]
            together = max(lengths) - length  # tokens that each of them runs
            again = sum(together - (n - length) for n in lengths)
            # what they begin with beyond what is kept is kept after the first two, and then need not run for each
            unkept = common(first.prompt, row.prompt) - length
            if unkept >= WEIGHTS_READ or min(lengths) < together:
                break
            if again > WEIGHTS_READ * len(group) or together * len(lengths) > _MOST:
                break
            group.append(row)
            least = length
        return group

    def run(self, rows: Sequence[Row], version: int) -> list[tuple[Tensor, DynamicCache]]:
        """One pass of opened rows that `group` put together: of each the logits (1, V) of its last token, and its cache.

        What a failed pass has kept for scoring is taken out again.
        """
        local, longest = self._local, max(len(row.prompt) for row in rows)
        cached = min(self._prefixes.longest(row.prompt, most=_most(row), version=version) for row in rows)
        runs = longest - cached  # tokens of each row
        cache = rows[0].run.recording.cache if len(rows) == 1 and rows[0].run.recording else DynamicCache()
        self._prefixes.fill(cache, [row.prompt for row in rows], [len(row.prompt) - runs for row in rows])
        ids = torch.cat([row.out[:, -runs:] for row in rows])
        lengths = torch.tensor([len(row.prompt) for row in rows]).unsqueeze(1)
        mask = (torch.arange(longest) >= longest - lengths).long().to(local.device)
        watched = len(rows) > 1 or rows[0].decoding.on_step is not None
        with untouched(local.model, watched=watched) as stack:
            listen_to_rows(stack, [row.run.recording for row in rows])
            logits = self._forward(local, ids, mask, cache)
        found = []
        for r, row in enumerate(rows):
            own = cache if len(rows) == 1 else _row_of(cache, r, len(row.prompt))
            if row.run.recording is not None:
                row.run.recording.cache = own
            self._prefixes.seen(row.prompt, own, version)
            found.append((logits[r : r + 1], own))
        return found


def _most(row: Row) -> int:
    """How many tokens of a prompt need not run: what scoring reads of it has to, and at least its last one."""
    return max(0, len(row.prompt) + (-1 if row.keep is None else row.keep.offset))


def _row_of(cache: DynamicCache, row: int, length: int) -> DynamicCache:
    """Views of the last `length` positions of one row."""
    own = DynamicCache()
    at = slice(row, row + 1)
    own.layers = [layer_of(layer.keys[at, :, -length:], layer.values[at, :, -length:]) for layer in cache.layers]
    return own
