"""The forward pass over an answer's suffix, from the earliest token asked for, with a graph from the band's first layer on.

What precedes comes from the KV cache; lower layers do not run, and linear layers are replayed, where generation kept what they
gave. Rows of a batch are aligned at that earliest token.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import pad
from transformers import DynamicCache

from guardrail.kernels.frozen import on_input, pass_through
from guardrail.kernels.gated_mlp import fuse_gated_mlps
from guardrail.kernels.live_rows import LiveRows
from guardrail.kernels.prefix import Watch, attend_in_place, cache_of
from guardrail.kernels.replay import only_live_gradients, replay
from guardrail.model.anatomy import Anatomy
from guardrail.model.decoder import run_decoder
from guardrail.types import GenerationState


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """One answer: P prompt ids, T >= 1 response ids, and what generation kept of it, if anything.

    thinking: how many of the last prompt ids are the model's thinking; offsets count from the end of the prompt before it.
    """

    prompt_ids: Sequence[int]
    response_ids: Sequence[int]
    state: GenerationState | None = None
    thinking: int = 0

    @property
    def asked(self) -> int:
        """The length of the prompt without the thinking behind it."""
        return len(self.prompt_ids) - self.thinking


@dataclass(frozen=True, slots=True, eq=False)
class Suffix:
    """What one forward pass over B rows' suffixes gave.

    starts: the position of column 0, for each row. out: the last layer's states, after the final norm, (B, S, D). band: the
    inputs of the layers from the band's first on, (B, S, D) each, all in the graph of `out`.
    """

    rows: Sequence[Row]
    starts: Sequence[int]
    out: Tensor
    band: Sequence[Tensor]

    def columns(self, offsets: Sequence[int]) -> Tensor:
        """(B, tokens): where the prompt tokens at `offsets`, negative, from each prompt's end, stand."""
        return torch.tensor([[row.asked + o - s for o in offsets] for row, s in self._placed()])

    def predicting(self) -> list[slice]:
        """Of each row the columns that predict its response, T of them."""
        ends = [len(row.prompt_ids) - 1 - s for row, s in self._placed()]
        return [slice(end, end + len(row.response_ids)) for end, row in zip(ends, self.rows, strict=True)]

    def _placed(self) -> list[tuple[Row, int]]:
        return list(zip(self.rows, self.starts, strict=True))


def run_suffix(
    stack: ExitStack,
    model: nn.Module,
    anatomy: Anatomy,
    rows: Sequence[Row],
    *,
    first_layer: int,
    reach: int,
    live: LiveRows | None = None,
    watch: Watch | None = None,
) -> Suffix:
    """One forward pass. reach: how many tokens before each prompt's end the suffix starts. live: for partial backward passes.

    watch: is shown the attention of each layer that runs, where the cache is "in place". Inside `untouched` and with gradients
    enabled, where there will be a backward pass; the graph's hooks and patches are on `stack`.
    """
    starts = _starts(anatomy, rows, reach)
    inject = _common_state_layer(anatomy, rows, starts, first_layer)
    band: list[Tensor] = []
    prefix = _Prefix(model, anatomy, rows, starts, inject or 0, live, watch)
    if anatomy.cache == "in place":
        attend_in_place(stack, anatomy.decoder)
    if inject is not None:  # before the band's hooks: hooks run in the order of registration
        _inject(stack, anatomy, rows, starts, inject, prefix.size[1], live)
    if live is not None:
        only_live_gradients(stack, anatomy.layers, first_layer, prefix.size, live)
        fuse_gated_mlps(stack, anatomy.layers, first_layer, prefix.size, live)
    _record_band(stack, anatomy, band, first_layer)
    return Suffix(rows, starts, prefix.run_suffix(), band)


class _Prefix:
    """The rows' positions before the suffix, in a cache, and the suffix aligned behind them: prefixes padded on the left,
    suffixes on the right, so that column 0 of the suffix is the earliest token asked for in every row."""

    def __init__(
        self,
        model: nn.Module,
        anatomy: Anatomy,
        rows: Sequence[Row],
        starts: Sequence[int],
        first_run: int,
        live: LiveRows | None,
        watch: Watch | None,
    ) -> None:
        self.anatomy, self.live, self.watch = anatomy, live, watch
        self.device = model.get_input_embeddings().weight.device  # type: ignore[operator]
        ids = [[*row.prompt_ids, *row.response_ids[:-1]] for row in rows]  # the last token predicts nothing in J
        self.width = max(starts)
        length = max(len(i) - s for i, s in zip(ids, starts, strict=True))
        self.size = (len(rows), length)
        size = (len(rows), self.width + length)
        tokens, mask, positions = (torch.zeros(size, dtype=torch.long) for _ in range(3))
        for b, (row, start) in enumerate(zip(ids, starts, strict=True)):
            at = slice(self.width - start, self.width - start + len(row))
            tokens[b, at] = torch.tensor(row)
            mask[b, at] = 1
            positions[b, at] = torch.arange(len(row))
        self.tokens, self.mask, self.positions = (x.to(self.device) for x in (tokens, mask, positions))
        self.cache = self._cache(rows, starts, first_run)

    def _cache(self, rows: Sequence[Row], starts: Sequence[int], first_run: int) -> DynamicCache | None:
        """The prefix's keys and values; those of layers before `first_run`, which are passed through, are left out."""
        if not self.anatomy.cached:
            return None
        states = [row.state for row in rows]
        kept: list[tuple[Tensor, Tensor] | None]
        if first_run and all(s is not None for s in states):
            lower = [None] * first_run
            upper = range(len(self.anatomy.layers) - first_run)
            kept = [*lower, *(self._kept([s for s in states if s is not None], starts, index) for index in upper)]
        elif self.width:
            cache = DynamicCache()  # without a config every layer keeps all positions, sliding windows too
            with torch.no_grad():
                self._forward(slice(0, self.width), self.mask[:, : self.width], cache)
            kept = [(layer.keys, layer.values) for layer in cache.layers]
        else:
            kept = [None] * len(self.anatomy.layers)
        in_place = self.anatomy.cache == "in place"
        return cache_of(kept, self.width, in_place=in_place, live=self.live, watch=self.watch)

    def _kept(self, states: list[GenerationState], starts: Sequence[int], layer: int) -> tuple[Tensor, Tensor]:
        """Keys and values of one kept layer, (B, heads, width, head_dim): a view of what was kept if there is one row."""
        keys, values = (
            [_left(kv[layer][:, :, :n], self.width) for kv, n in zip(kept, starts, strict=True)]
            for kept in ([s.cache_keys for s in states], [s.cache_values for s in states])
        )
        return (keys[0], values[0]) if len(states) == 1 else (torch.cat(keys), torch.cat(values))

    def run_suffix(self) -> Tensor:
        return self._forward(slice(self.width, None), self.mask, self.cache)

    def _forward(self, at: slice, mask: Tensor, cache: DynamicCache | None) -> Tensor:
        out = run_decoder(
            self.anatomy.decoder, self.tokens[:, at], mask=mask, positions=self.positions[:, at], cache=cache
        )
        hidden: Tensor = out.last_hidden_state
        return hidden


def _left(x: Tensor, width: int) -> Tensor:
    return x if x.shape[2] == width else pad(x, (0, 0, width - x.shape[2], 0))


def _record_band(stack: ExitStack, anatomy: Anatomy, band: list[Tensor], first_layer: int) -> None:
    """The graph starts at h^(first_layer): detached there, recorded from there on."""

    def start(hidden: Tensor) -> Tensor:
        band.append(hidden.detach().requires_grad_(True))
        return band[-1]

    def record(hidden: Tensor) -> None:
        band.append(hidden)

    for index, layer in enumerate(anatomy.layers):
        if index >= first_layer:
            on_input(stack, layer, start if index == first_layer else record)


def resumes(anatomy: Anatomy, row: Row, *, first_layer: int, reach: int) -> bool:
    """Whether a forward pass of this row goes on from what generation kept, so that running it again costs little."""
    return _common_state_layer(anatomy, [row], _starts(anatomy, [row], reach), first_layer) is not None


def _starts(anatomy: Anatomy, rows: Sequence[Row], reach: int) -> list[int]:
    return [row.asked - reach for row in rows] if anatomy.cached else [0] * len(rows)


def _common_state_layer(anatomy: Anatomy, rows: Sequence[Row], starts: Sequence[int], first_layer: int) -> int | None:
    """The layer whose kept input can replace the lower layers' run: all rows kept it, from early enough on."""
    if not anatomy.cached:
        return None
    layers = {row.state.band_layer if row.state else None for row in rows}
    layer = layers.pop() if len(layers) == 1 else None
    if layer is None or layer > first_layer:
        return None
    early = all(row.state and row.state.first <= start for row, start in zip(rows, starts, strict=True))
    return layer if early else None


def _inject(
    stack: ExitStack,
    anatomy: Anatomy,
    rows: Sequence[Row],
    starts: Sequence[int],
    layer: int,
    length: int,
    live: LiveRows | None,
) -> None:
    """Lower layers are passed through, layer `layer` gets its kept input, linear layers give what they gave.

    length: S. A row may end before the answer that its state is of.
    """
    states = [row.state for row in rows if row.state]
    skips = [start - state.first for start, state in zip(starts, states, strict=True)]
    ends = [
        n + len(row.prompt_ids) + len(row.response_ids) - 1 - s for n, row, s in zip(skips, rows, starts, strict=True)
    ]

    def stacked(kept: Sequence[Tensor]) -> Tensor:  # (B, S, width)
        own = [x[n:end] for x, n, end in zip(kept, skips, ends, strict=True)]
        return own[0].unsqueeze(0) if len(own) == 1 else torch.stack([pad(x, (0, 0, 0, length - len(x))) for x in own])

    for index in range(layer):
        pass_through(stack, anatomy.layers[index])
    entering = stacked([s.band_states for s in states])
    on_input(stack, anatomy.layers[layer], lambda _: entering)
    names = set.intersection(*(set(s.linear_outputs) for s in states))
    replay(stack, anatomy.layers, {name: stacked([s.linear_outputs[name] for s in states]) for name in names}, live)
