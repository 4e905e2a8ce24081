"""Gradients of an answer's likelihood with respect to the prompt's hidden states. The only file that runs a backward pass.

Eq. 4 of arXiv 2605.04638, computed where it is needed and nowhere else: what precedes the earliest token asked for comes
from the KV cache, layers below the band build no graph (or do not run, when generation kept the band's input), logits
exist at the response's positions only, and the LM head's part is `head.py`'s closed form. Knows nothing about eq. 6.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import pad
from transformers import DynamicCache

from guardrail.errors import UnsupportedModelError
from guardrail.model.anatomy import Anatomy
from guardrail.model.prefix import attend_in_place, cache_of
from guardrail.model.replay import replay
from guardrail.model.untouched import on_input, pass_through, untouched
from guardrail.scoring.head import HeadReadout, read_heads
from guardrail.types import GenerationState


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """One answer: P prompt ids, T >= 1 response ids, and what generation kept of it, if anything."""

    prompt_ids: Sequence[int]
    response_ids: Sequence[int]
    state: GenerationState | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Readout:
    """Everything that one pass tells about one answer; J is the mean over the response tokens.

    semgrad: (layers, tokens), mean |dJ/dh^(l)_t| over hidden units, float64 on the CPU; rows from the first layer asked
    for up to h^(L-1), columns in the order of the offsets asked for. The rest is as in `HeadReadout`.
    """

    semgrad: Tensor
    paragrad: float
    exgrad: float | None
    entropies: Tensor
    log_probs: Tensor

    def finite(self) -> bool:
        numbers = torch.tensor([self.paragrad, self.exgrad or 0.0])
        return all(bool(x.isfinite().all()) for x in (self.semgrad, self.entropies, self.log_probs, numbers))


def require_gradients(model: nn.Module, anatomy: Anatomy) -> None:
    """Raise `UnsupportedModelError` where a quantised layer computes but hands no gradient on, or a wrong one.

    Some libraries swap in kernels for inference that autograd does not see, without an error. A linear layer tells: with
    d = f(x + e) - f(x), the gradient of d . f along e must be d . d. One layer of each kind is tried.
    """
    if any(p.is_inference() for p in model.parameters()):
        raise UnsupportedModelError(
            f"{anatomy.architecture} cannot be scored as it is loaded: its weights were made in torch.inference_mode, and no "
            "gradient goes through them; load it outside"
        )
    kinds = {type(m): m for m in anatomy.layers.modules() if hasattr(m, "in_features") and not _plain(m)}
    dtype = anatomy.head.weight.dtype
    with torch.inference_mode(False), untouched(model):
        for kind, layer in kinds.items():
            device = next((x.device for x in (*layer.parameters(), *layer.buffers())), None)
            noise, size = torch.Generator().manual_seed(0), int(getattr(layer, "in_features", 0))
            x, e = (torch.randn((1, 3, size), generator=noise).to(device, dtype) for _ in range(2))
            with torch.no_grad():  # first: such kernels come in with the first pass without a graph
                after, before = layer(x + e), layer(x)
            if not isinstance(after, Tensor):  # a router, say
                continue
            d = after - before
            try:
                with torch.enable_grad():
                    grad = torch.autograd.grad([layer(x.requires_grad_(True))], [x], [d])[0]
                slope, expected = float((grad.float() * e.float()).sum()), float(d.float().square().sum())
            except RuntimeError:
                slope, expected = 0.0, 1.0
            if not abs(slope - expected) <= 0.1 * expected:
                raise UnsupportedModelError(
                    f"{anatomy.architecture} cannot be scored as it is loaded: its {kind.__name__} layers give no correct "
                    f"gradient on {device}; load it on another device, or without this quantisation"
                )


def _plain(layer: nn.Module) -> bool:
    """Whether a linear layer holds ordinary floating-point weights."""
    weight = getattr(layer, "weight", None)
    return isinstance(weight, Tensor) and weight.is_floating_point() and type(weight.data) is Tensor


def read_gradients(
    model: nn.Module,
    anatomy: Anatomy,
    rows: Sequence[Row],
    *,
    first_layer: int,
    offsets: Sequence[int],
    exgrad: bool = False,
) -> list[Readout]:
    """One forward and backward pass over the rows' suffixes, together.

    first_layer: l of the band's first h^(l). offsets: negative, from each prompt's end; every prompt must be that long.
    The model is left exactly as it was, also after an exception. Rows are independent, so a batch gives each row what it
    would get alone.
    """
    if not anatomy.cached and len(rows) > 1:  # recurrent layers would carry padding along
        return [
            r
            for row in rows
            for r in read_gradients(model, anatomy, [row], first_layer=first_layer, offsets=offsets, exgrad=exgrad)
        ]
    reach = -min(offsets)
    starts = [len(row.prompt_ids) - reach for row in rows] if anatomy.cached else [0]
    inject = _common_state_layer(rows, starts, first_layer) if anatomy.cached else None
    band: list[Tensor] = []
    with torch.inference_mode(False), torch.enable_grad(), untouched(model) as stack:
        prefix = _Prefix(model, anatomy, rows, starts, inject or 0)
        if anatomy.cache == "in place":
            attend_in_place(stack, anatomy.decoder)
        if inject is not None:  # before the band's hooks: hooks run in the order of registration
            _inject(stack, anatomy, rows, starts, inject)
        _record_band(stack, anatomy, band, first_layer)
        out = prefix.run_suffix()  # (B, S, D)
        heads, grads = _head_parts(anatomy, rows, starts, out, exgrad)
        scale = _half_precision_scale(grads)
        layers = torch.autograd.grad([out], band, [(grads * scale).to(out.dtype)])
        columns = torch.tensor(
            [[len(row.prompt_ids) + o - s for o in offsets] for row, s in zip(rows, starts, strict=True)]
        )
        sizes = [_mean_abs(g, columns).to(out.device) for g in layers]
        # moved at once, and only then doubled: MPS has no float64, and every copy from a GPU waits for it
        semgrad = torch.stack(sizes, dim=1).cpu().double() / scale.cpu().double()  # (B, layers, tokens)
    return [
        Readout(semgrad[b], h.paragrad, h.exgrad, h.entropies.cpu(), h.log_probs.cpu()) for b, h in enumerate(heads)
    ]


def _mean_abs(g: Tensor, columns: Tensor) -> Tensor:
    """(B, S, D) -> (B, tokens): the mean of |g| over units at each row's `columns`, (B, tokens)."""
    rows = torch.arange(len(g), device=g.device).unsqueeze(1)
    return g[rows, columns.to(g.device)].float().abs().mean(-1)


class _Prefix:
    """The rows' positions before the suffix, in a cache, and the suffix aligned behind them: prefixes padded on the left,
    suffixes on the right, so that column 0 of the suffix is the earliest token asked for in every row."""

    def __init__(
        self, model: nn.Module, anatomy: Anatomy, rows: Sequence[Row], starts: Sequence[int], first_run: int
    ) -> None:
        self.anatomy = anatomy
        self.device = model.get_input_embeddings().weight.device  # type: ignore[operator]
        ids = [[*row.prompt_ids, *row.response_ids[:-1]] for row in rows]  # the last token predicts nothing in J
        self.width = max(starts)
        length = max(len(i) - s for i, s in zip(ids, starts, strict=True))
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
        return cache_of(kept, self.width, in_place=self.anatomy.cache == "in place")

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
        hidden: Tensor = self.anatomy.decoder(
            input_ids=self.tokens[:, at],
            attention_mask=mask,
            position_ids=self.positions[:, at],
            past_key_values=cache,
            use_cache=cache is not None,
        ).last_hidden_state
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


def _common_state_layer(rows: Sequence[Row], starts: Sequence[int], first_layer: int) -> int | None:
    """The layer whose kept input can replace the lower layers' run: all rows kept it, from early enough on."""
    layers = {row.state.band_layer if row.state else None for row in rows}
    layer = layers.pop() if len(layers) == 1 else None
    if layer is None or layer > first_layer:
        return None
    early = all(row.state and row.state.first <= start for row, start in zip(rows, starts, strict=True))
    return layer if early else None


def _inject(stack: ExitStack, anatomy: Anatomy, rows: Sequence[Row], starts: Sequence[int], layer: int) -> None:
    """Lower layers are passed through, layer `layer` gets its kept input, linear layers give what they gave."""
    states = [row.state for row in rows if row.state]
    skips = [start - state.first for start, state in zip(starts, states, strict=True)]
    length = max(len(s.band_states) - n for s, n in zip(states, skips, strict=True))

    def stacked(kept: Sequence[Tensor]) -> Tensor:  # (B, S, width)
        if len(kept) == 1:
            return kept[0][skips[0] :].unsqueeze(0)
        return torch.stack([pad(x[n:], (0, 0, 0, length - len(x) + n)) for x, n in zip(kept, skips, strict=True)])

    for index in range(layer):
        pass_through(stack, anatomy.layers[index])
    entering = stacked([s.band_states for s in states])
    on_input(stack, anatomy.layers[layer], lambda _: entering)
    names = set.intersection(*(set(s.linear_outputs) for s in states))
    replay(stack, anatomy.layers, {name: stacked([s.linear_outputs[name] for s in states]) for name in names})


def _head_parts(
    anatomy: Anatomy, rows: Sequence[Row], starts: Sequence[int], out: Tensor, exgrad: bool
) -> tuple[list[HeadReadout], Tensor]:
    """The head's readout of every row, and dJ/d(out), (B, S, D), which is zero except at the response's positions."""
    place = anatomy.head.weight.device
    spans = [
        slice(len(row.prompt_ids) - 1 - start, len(row.prompt_ids) - 1 - start + len(row.response_ids))
        for row, start in zip(rows, starts, strict=True)
    ]
    heads = read_heads(
        anatomy,
        [out[b, at].detach().to(place) for b, at in enumerate(spans)],
        [row.response_ids for row in rows],
        outputs=[row.state.head_outputs if row.state else None for row in rows],
        exgrad=exgrad,
    )
    grads = torch.zeros(out.shape, dtype=torch.float32, device=out.device)
    for b, (at, head) in enumerate(zip(spans, heads, strict=True)):
        grads[b, at] = head.hidden_grad.to(out.device)
    return heads, grads


def _half_precision_scale(grads: Tensor) -> Tensor:
    """(B, 1, 1): brings each row's largest gradient to 1, since float16 cannot hold what is left of it lower down."""
    peak = grads.abs().amax(dim=(1, 2), keepdim=True)
    tiny = torch.finfo(peak.dtype).tiny
    return torch.where(peak.isfinite(), 1 / peak.clamp(min=tiny), torch.ones_like(peak))
