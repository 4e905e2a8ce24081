"""Gradients of an answer's likelihood with respect to the prompt's hidden states. The only file that runs a backward pass.

Eq. 4 of arXiv 2605.04638, computed where it is needed and nowhere else: the graph is that of `suffix.py`, logits exist at the
response's positions only, and the LM head's part is `head.py`'s closed form. Knows nothing about eq. 6.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from guardrail.kernels.frozen import untouched
from guardrail.kernels.live_rows import LiveRows
from guardrail.kernels.memory import is_out_of_memory
from guardrail.model.anatomy import Anatomy
from guardrail.scoring.head import HeadReadout, read_heads
from guardrail.scoring.suffix import Row, Suffix, resumes, run_suffix

Span = tuple[int, int]
"""Tokens of a response: `response_ids[start:end]`."""

_TOGETHER = 2048  # positions, over all backward passes that run together: beyond, nothing is gained (measured)


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

    def fault(self) -> str | None:
        """Why these are no numbers, in words; None where they are.

        A gradient or an entropy of exactly 0 is what a cut graph or an overflowing head gives, and would look the surest.
        """
        numbers = torch.tensor([self.paragrad, self.exgrad or 0.0])
        if not all(bool(x.isfinite().all()) for x in (self.semgrad, self.entropies, self.log_probs, numbers)):
            return "NaN or infinity in a logit or a gradient"
        sums = {"SemGrad": self.semgrad.sum(0), "ParaGrad": numbers[:1], "the entropy": self.entropies.sum()}
        if self.exgrad is not None:
            sums["ExGrad"] = numbers[1:]
        zero = next((name for name, x in sums.items() if bool((x == 0).any())), None)
        return (
            None
            if zero is None
            else f"{zero} is exactly 0: no gradient came through (detached, or out of sight), or logits overflowed"
        )

    def finite(self) -> bool:
        """Whether these are numbers."""
        return self.fault() is None


def gradient_of(out: Tensor, x: Tensor, weights: Tensor) -> Tensor:
    """The gradient of weights . out with respect to `x`, zeros where nothing comes through. The graph stays."""
    if not out.requires_grad:
        return torch.zeros_like(x)
    return torch.autograd.grad([out], [x], [weights], retain_graph=True, allow_unused=True, materialize_grads=True)[0]


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
        semgrad = _semgrad(suffix, grads.unsqueeze(0), offsets, LiveRows())[0]
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
    silent: Collection[Span] = (),
) -> list[Readout]:
    """The readout of every span of one answer, J restricted to the span's tokens: one backward pass for each.

    The entropies that weigh J and the rows of G that make ParaGrad are the span's own. A backward pass ends with the span:
    in a causal model nothing behind it acts on it. So does the forward pass of a group of spans that end near each other,
    where it goes on from what generation kept and costs little; else one pass, of the whole answer, is for all. silent: those
    that have no backward pass, and an empty semgrad, (0, 0). Otherwise as `read_gradients`.
    """
    reach, live = -min(offsets), LiveRows()
    heads: list[HeadReadout] = []
    semgrads: dict[int, Tensor] = {}
    cheap = resumes(anatomy, row, first_layer=first_layer, reach=reach)
    for group in _by_end({i: end for i, (start, end) in enumerate(spans) if (start, end) not in silent}, cheap):
        # the first pass is for all heads, too
        end = max(spans[i][1] for i in (group if heads else range(len(spans))))
        part = replace(row, response_ids=row.response_ids[:end]) if cheap else row
        with torch.inference_mode(False), torch.enable_grad(), untouched(model) as stack:
            suffix = run_suffix(stack, model, anatomy, [part], first_layer=first_layer, reach=reach, live=live)
            heads = heads or _read_heads(anatomy, suffix, [(0, span) for span in spans], exgrad)
            semgrads |= _semgrads_of_spans(suffix, {i: (spans[i], heads[i].hidden_grad) for i in group}, offsets, live)
            del suffix  # its graph, before the next one's
    return [_readout(semgrads.get(i, torch.empty(0, 0)), head) for i, head in enumerate(heads)]


def _by_end(ends: Mapping[int, int], cheap: bool) -> list[list[int]]:
    """The keys of spans' ends, those that end last first, in groups that share a forward pass; one group at least.

    cheap: whether there may be more than one. Fewer groups carry along more positions behind a claim, more groups run more
    positions in several forward passes; half of sqrt(C) was the cheapest for C claims of one length (measured).
    """
    order = sorted(ends, key=lambda i: ends[i], reverse=True)
    groups = max(1, round(len(order) ** 0.5 / 2)) if cheap else 1
    size = max(1, -(-len(order) // groups))
    return [order[i : i + size] for i in range(0, len(order), size)] or [[]]


def _semgrads_of_spans(
    suffix: Suffix, parts: Mapping[int, tuple[Span, Tensor]], offsets: Sequence[int], live: LiveRows
) -> dict[int, Tensor]:
    """(layers, tokens) for each part, a span and its dJ/dH, of the one row: several backward passes together."""
    out: dict[int, Tensor] = {}
    keys, first = list(parts), suffix.predicting()[0].start
    step = max(1, _TOGETHER // suffix.out.shape[1])
    for j in range(0, len(keys), step):
        together = keys[j : j + step]
        grads = torch.zeros((len(together), *suffix.out.shape), dtype=torch.float32, device=suffix.out.device)
        for grad, key in zip(grads, together, strict=True):
            (start, end), hidden_grad = parts[key]
            grad[0, first + start : first + end] = hidden_grad.to(grad.device)
        live.ends = tuple(first + parts[key][0][1] for key in together)
        found = _semgrad(suffix, grads, offsets, live, again=together[-1] != keys[-1])[:, 0]
        out |= zip(together, found, strict=True)
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


def _semgrad(suffix: Suffix, grads: Tensor, offsets: Sequence[int], live: LiveRows, *, again: bool = False) -> Tensor:
    """(passes, B, layers, tokens), float64 on the CPU. grads: dJ/d(out), (passes, B, S, D). again: more passes will follow."""
    scale = _half_precision_scale(grads)
    layers = _backward(suffix, (grads * scale).to(suffix.out.dtype), live, again)
    columns = suffix.columns(offsets)
    sizes = [_mean_abs(g, columns).to(suffix.out.device) for g in layers]
    # moved at once, and only then doubled: MPS has no float64, and every copy from a GPU waits for it
    return torch.stack(sizes, dim=2).cpu().double() / scale.cpu().double()


def _backward(suffix: Suffix, grads: Tensor, live: LiveRows, again: bool) -> list[Tensor]:
    """dJ/d(band), (passes, B, S, D) each; several passes run together."""

    if not suffix.out.requires_grad:  # something cut the graph above the band: no gradient, which is no number either
        return [torch.zeros((len(grads), *layer.shape), device=layer.device) for layer in suffix.band]

    def run(grad: Tensor, again: bool = True) -> tuple[Tensor, ...]:
        return torch.autograd.grad(
            [suffix.out], suffix.band, [grad], retain_graph=again, allow_unused=True, materialize_grads=True
        )

    if len(grads) == 1:
        return [g.unsqueeze(0) for g in run(grads[0], again)]
    try:
        return list(torch.func.vmap(run)(grads))
    except RuntimeError as error:
        if is_out_of_memory(error):
            raise
    # a kernel that wants the numbers themselves runs pass by pass; an error of another kind comes again, and is raised
    found = []
    for grad, end in zip(grads, live.ends, strict=True):
        live.ends = (end,)
        found.append(run(grad))
    return [torch.stack(layer) for layer in zip(*found, strict=True)]


def _mean_abs(g: Tensor, columns: Tensor) -> Tensor:
    """(passes, B, S, D) -> (passes, B, tokens): the mean of |g| over units at each row's `columns`, (B, tokens)."""
    rows = torch.arange(g.shape[1], device=g.device).unsqueeze(1)
    return g[:, rows, columns.to(g.device)].float().abs().mean(-1)


def _half_precision_scale(grads: Tensor) -> Tensor:
    """(passes, B, 1, 1): brings each row's largest gradient to 1, since float16 cannot hold what is left of it lower down."""
    peak = grads.abs().amax(dim=(-2, -1), keepdim=True)
    tiny = torch.finfo(peak.dtype).tiny
    return torch.where(peak.isfinite(), 1 / peak.clamp(min=tiny), torch.ones_like(peak))
