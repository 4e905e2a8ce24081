"""Gradients of an answer's likelihood with respect to the prompt's hidden states. The only file that runs a backward pass.

Eq. 4 of arXiv 2605.04638, computed where it is needed and nowhere else: the graph is that of `suffix.py`, logits exist at the
response's positions only, and the LM head's part is `head.py`'s closed form. Knows nothing about eq. 6.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from guardrail.errors import UnsupportedModelError
from guardrail.model.anatomy import Anatomy
from guardrail.model.live import Live
from guardrail.model.untouched import untouched
from guardrail.scoring.head import HeadReadout, read_heads
from guardrail.scoring.suffix import Row, Suffix, run_suffix

Span = tuple[int, int]
"""Tokens of a response: `response_ids[start:end]`."""


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
    with torch.inference_mode(False), torch.enable_grad(), untouched(model) as stack:
        suffix = run_suffix(stack, model, anatomy, rows, first_layer=first_layer, reach=-min(offsets))
        places = suffix.predicting()
        heads = _read_heads(anatomy, suffix, [(b, (0, len(row.response_ids))) for b, row in enumerate(rows)], exgrad)
        grads = torch.zeros(suffix.out.shape, dtype=torch.float32, device=suffix.out.device)
        for b, (at, head) in enumerate(zip(places, heads, strict=True)):
            grads[b, at] = head.hidden_grad.to(grads.device)
        semgrad = _semgrad(suffix, grads, offsets)
    return [_readout(semgrad[b], head) for b, head in enumerate(heads)]


def read_spans(
    model: nn.Module,
    anatomy: Anatomy,
    row: Row,
    spans: Sequence[Span],
    *,
    first_layer: int,
    offsets: Sequence[int],
    exgrad: bool = False,
) -> list[Readout]:
    """The readout of every span of one answer, J restricted to the span's tokens: one forward pass, a backward pass for each.

    The entropies that weigh J and the rows of G that make ParaGrad are the span's own. A backward pass ends with the span:
    in a causal model nothing behind it acts on it. Otherwise as `read_gradients`.
    """
    out, live = [], Live()
    with torch.inference_mode(False), torch.enable_grad(), untouched(model) as stack:
        suffix = run_suffix(stack, model, anatomy, [row], first_layer=first_layer, reach=-min(offsets), live=live)
        first = suffix.predicting()[0].start
        heads = _read_heads(anatomy, suffix, [(0, span) for span in spans], exgrad)
        for (start, end), head in zip(spans, heads, strict=True):
            live.rows = first + end
            grads = torch.zeros(suffix.out.shape, dtype=torch.float32, device=suffix.out.device)
            grads[0, first + start : first + end] = head.hidden_grad.to(grads.device)
            out.append(_readout(_semgrad(suffix, grads, offsets, again=True)[0], head))
    return out


def _readout(semgrad: Tensor, head: HeadReadout) -> Readout:
    return Readout(semgrad, head.paragrad, head.exgrad, head.entropies.cpu(), head.log_probs.cpu())


def _read_heads(anatomy: Anatomy, suffix: Suffix, parts: Sequence[tuple[int, Span]], exgrad: bool) -> list[HeadReadout]:
    """The head's readout of parts of answers, (row, span) each."""
    place = anatomy.head.weight.device
    starts = [at.start for at in suffix.predicting()]
    states = [row.state for row in suffix.rows]
    kept = [None if state is None else state.head_outputs for state in states]
    return read_heads(
        anatomy,
        [suffix.out[b, starts[b] + s : starts[b] + e].detach().to(place) for b, (s, e) in parts],
        [suffix.rows[b].response_ids[s:e] for b, (s, e) in parts],
        outputs=[None if (outputs := kept[b]) is None else outputs[s:e] for b, (s, e) in parts],
        exgrad=exgrad,
    )


def _semgrad(suffix: Suffix, grads: Tensor, offsets: Sequence[int], *, again: bool = False) -> Tensor:
    """(B, layers, tokens), float64 on the CPU. grads: dJ/d(out), (B, S, D). again: more backward passes will follow."""
    scale = _half_precision_scale(grads)
    layers = torch.autograd.grad([suffix.out], suffix.band, [(grads * scale).to(suffix.out.dtype)], retain_graph=again)
    columns = suffix.columns(offsets)
    sizes = [_mean_abs(g, columns).to(suffix.out.device) for g in layers]
    # moved at once, and only then doubled: MPS has no float64, and every copy from a GPU waits for it
    return torch.stack(sizes, dim=1).cpu().double() / scale.cpu().double()


def _mean_abs(g: Tensor, columns: Tensor) -> Tensor:
    """(B, S, D) -> (B, tokens): the mean of |g| over units at each row's `columns`, (B, tokens)."""
    rows = torch.arange(len(g), device=g.device).unsqueeze(1)
    return g[rows, columns.to(g.device)].float().abs().mean(-1)


def _half_precision_scale(grads: Tensor) -> Tensor:
    """(B, 1, 1): brings each row's largest gradient to 1, since float16 cannot hold what is left of it lower down."""
    peak = grads.abs().amax(dim=(1, 2), keepdim=True)
    tiny = torch.finfo(peak.dtype).tiny
    return torch.where(peak.isfinite(), 1 / peak.clamp(min=tiny), torch.ones_like(peak))
