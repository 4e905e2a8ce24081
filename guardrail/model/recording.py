"""What generation computes and scoring can use again, kept while it runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import DynamicCache

from guardrail.kernels.frozen import on_input, weights_version
from guardrail.kernels.replay import MAX_KEPT_BYTES, LinearOutputs, kept_bytes
from guardrail.model.loaded import LoadedModel
from guardrail.types import GenerationState

_MAX_KEPT_LOGITS = 64 * 2**20  # 256 MiB in float32


@dataclass(frozen=True, slots=True)
class Keep:
    """Which states to keep: those entering layer `band_layer`, from `offset` (negative, from the prompt's end) on.

    below: whether the KV cache of the layers below it is kept, too, for what reads on behind the answer.
    """

    band_layer: int
    offset: int
    below: bool = False

    @staticmethod
    def joined(keeps: Sequence[Keep]) -> Keep | None:
        """What serves all of them; None where there is none."""
        if not keeps:
            return None
        return Keep(min(k.band_layer for k in keeps), min(k.offset for k in keeps), any(k.below for k in keeps))


class Recording:
    """Of a left-padded batch, while it `listens`: the KV cache, the band's input, the head's and linear layers' outputs.

    rows: the prompts' ids. room: the longest response. `cache` is for the generation to fill: one without a config keeps every
    position, also in sliding-window layers, and only then can scoring go back to t*.
    """

    def __init__(self, local: LoadedModel, rows: Sequence[list[int]], room: int, keep: Keep) -> None:
        anatomy = local.anatomy
        self.local, self.rows, self.keep = local, rows, keep
        self.cache: Any = DynamicCache()
        self._paused = False
        self._band: list[Tensor] = []
        self._outputs: list[Tensor] = []
        self._linear: LinearOutputs | None = None
        if kept_bytes(anatomy.layers, keep.band_layer, len(rows) * (room - keep.offset)) <= MAX_KEPT_BYTES:
            self._linear = LinearOutputs(anatomy.layers, keep.band_layer, -keep.offset)
        # (B, T, V) in the head's dtype: cheap for one answer, not for a large batch of long ones
        self._keeps_head = len(rows) * room * anatomy.head.out_features <= _MAX_KEPT_LOGITS

    def listen(self, stack: ExitStack) -> None:
        """While `stack` is open, every pass of the model is kept."""
        anatomy = self.local.anatomy
        if self._linear is not None:
            self._linear.listen(stack)
        on_input(stack, anatomy.layers[self.keep.band_layer], self._see_band)
        if self._keeps_head:
            stack.callback(anatomy.head.register_forward_hook(self._see_head).remove)

    @contextmanager
    def _undone_on_error(self) -> Iterator[None]:
        growing: list[list[Any]] = [self._band, self._outputs, *(self._linear.kept() if self._linear else ())]
        before = [len(each) for each in growing]
        try:
            yield
        except BaseException:
            for each, length in zip(growing, before, strict=True):
                del each[length:]
            raise

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Inside, the model may compute something else: nothing of it is kept."""
        self._paused = True
        if self._linear is not None:
            self._linear.pause(True)
        try:
            yield
        finally:
            self._paused = False
            if self._linear is not None:
                self._linear.pause(False)

    def states(self, responses: Sequence[Sequence[int]]) -> list[GenerationState | None]:
        """What was kept of each row, whose response so far has these ids; None where the prompt ends before `keep.offset`."""
        keep, width = self.keep, max(map(len, self.rows))
        band_states = torch.cat(self._band, dim=1)  # (B, kept, D)
        head_outputs = torch.cat(self._outputs, dim=1) if self._outputs else None  # (B, T, V)
        linear_outputs = self._linear.joined(len(self.rows), band_states.shape[1]) if self._linear else {}
        upper, weights = self.cache.layers[keep.band_layer :], weights_version(self.local.model)
        lower = self.cache.layers[: keep.band_layer] if keep.below else []
        own = torch.clone if len(self.rows) > 1 else _same  # a view would keep the whole batch alive
        states: list[GenerationState | None] = []
        for r, (row, response) in enumerate(zip(self.rows, responses, strict=True)):
            pad, end = width - len(row), width + len(response) - 1
            if len(row) < -keep.offset:
                states.append(None)
                continue
            kept = slice(-keep.offset + len(response) - 1)
            states.append(
                GenerationState(
                    ids=(*row, *response),
                    weights=weights,
                    cache_keys=tuple(own(layer.keys[r : r + 1, :, pad:end]) for layer in upper),
                    cache_values=tuple(own(layer.values[r : r + 1, :, pad:end]) for layer in upper),
                    band_layer=keep.band_layer,
                    first=len(row) + keep.offset,
                    band_states=own(band_states[r, kept]),
                    head_outputs=None if head_outputs is None else own(head_outputs[r, : len(response)]),
                    linear_outputs={name: own(x[r, kept]) for name, x in linear_outputs.items()},
                    lower_keys=tuple(own(layer.keys[r : r + 1, :, pad:end]) for layer in lower),
                    lower_values=tuple(own(layer.values[r : r + 1, :, pad:end]) for layer in lower),
                )
            )
        return states

    def _see_band(self, hidden: Tensor) -> None:
        """The last positions of the prompt's pass, then every position that follows."""
        if not self._paused:
            self._band.append(hidden if self._band else hidden[:, self.keep.offset :])

    def _see_head(self, _: Any, __: Any, output: Tensor) -> None:
        if not self._paused:
            self._outputs.append(output[:, -1:])


def listen_to_rows(stack: ExitStack, recordings: Sequence[Recording | None]) -> None:
    """As `listen`, each to its own row of passes that they share, (B, 1, ...); None for a row that keeps nothing.

    One hook a module, whatever the number of rows: registering them costs more than what they do. Of a pass that fails
    nothing is kept, so that it can be tried again.
    """
    layers: dict[nn.Module, list[tuple[int, Callable[[Tensor], None]]]] = {}
    modules: dict[nn.Module, list[tuple[int, Callable[[Any, Any, Tensor], None]]]] = {}
    for r, own in enumerate(recordings):
        if own is None:
            continue
        stack.enter_context(own._undone_on_error())
        anatomy = own.local.anatomy
        layers.setdefault(anatomy.layers[own.keep.band_layer], []).append((r, own._see_band))
        for (_, module), see in () if own._linear is None else own._linear.hooks():
            modules.setdefault(module, []).append((r, see))
        if own._keeps_head:
            modules.setdefault(anatomy.head, []).append((r, own._see_head))
    for layer, seers in layers.items():
        on_input(stack, layer, _rows_entering(seers))
    for listened, listeners in modules.items():
        stack.callback(listened.register_forward_hook(_rows_of_output(listeners, len(recordings))).remove)


def _rows_entering(seers: Sequence[tuple[int, Callable[[Tensor], None]]]) -> Callable[[Tensor], None]:
    def see(hidden: Tensor) -> None:
        rows = hidden.chunk(len(hidden))
        for r, each in seers:
            each(rows[r])

    return see


def _rows_of_output(
    listeners: Sequence[tuple[int, Callable[[Any, Any, Tensor], None]]], batch: int
) -> Callable[[Any, Any, Tensor], None]:
    def hook(module: Any, args: Any, output: Tensor) -> None:
        # tokens flattened, as in front of experts, are no rows: without dimensions none takes them for its own
        rows = output.chunk(batch) if len(output) == batch else [output.reshape(-1)] * batch
        for r, each in listeners:
            each(module, args, rows[r])

    return hook


def _same(x: Tensor) -> Tensor:
    return x
