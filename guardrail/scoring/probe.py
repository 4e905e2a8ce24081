"""Whether the gradients that scoring reads are those of the numbers that the model computes. Raises, and gives no number.

Kernels for inference, `no_grad`, and whatever detaches a part of a layer compute on without an error, and hand on no gradient,
or a part of it: the answer then looks surer than it is. So each layer of the band is tried once, by a difference.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from guardrail.errors import UnsupportedModelError
from guardrail.kernels.frozen import on_input, untouched
from guardrail.kernels.replay import plain_weight
from guardrail.model.anatomy import Anatomy
from guardrail.scoring.gradients import gradient_of
from guardrail.scoring.suffix import Row, run_suffix

Share = tuple[float, float]

_PROMPT, _RESPONSE = [1, 2, 3, 1, 2], [3, 2, 1]
_AT = -3  # the token whose state is moved, from the prompt's end; what stands before it is the prefix
# how far, relative to the state; several, since a router that changes its mind makes a jump
_STEPS = (0.05, 0.01, 0.1, 0.003)
_HALF_STEPS = (0.2, 0.4, 0.1, 0.8)  # where rounding would hide a smaller one: half precision, quantised layers
_SHARE, _HALF_SHARE = (0.98, 1.02), (0.4, 2.5)  # of the difference that the gradient must explain


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
    kinds = {type(m): m for m in anatomy.layers.modules() if hasattr(m, "in_features") and not plain_weight(m)}
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
                    grad = gradient_of(layer(x.requires_grad_(True)), x, d)
                slope, expected = float((grad.float() * e.float()).sum()), float(d.float().square().sum())
            except RuntimeError:
                slope, expected = 0.0, 1.0
            if not abs(slope - expected) <= 0.1 * expected:
                raise UnsupportedModelError(
                    f"{anatomy.architecture} cannot be scored as it is loaded: its {kind.__name__} layers give no correct "
                    f"gradient on {device}; load it on another device, or without this quantisation"
                )


def require_attention_gradients(model: nn.Module, anatomy: Anatomy, first_layer: int) -> None:
    """Raise `UnsupportedModelError` where a layer of the band hands on less of the gradient than it computes with.

    The state of one prompt token is moved a little, there and back, in front of each layer. What that changes at later
    positions, d, has come through attention (or what stands in its place), and the layer's own gradient must say the same
    about d . f. first_layer: l of the band's first h^(l).
    """
    suspects = set(range(first_layer, len(anatomy.layers)))
    rounds = anatomy.head.weight.dtype != torch.float32 or any(
        hasattr(module, "in_features") and not plain_weight(module) for module in anatomy.layers.modules()
    )
    share = _HALF_SHARE if rounds else _SHARE
    for seed, step in enumerate(_HALF_STEPS if rounds else _STEPS):
        suspects &= _wrong(model, anatomy, first_layer, step, seed, share)
        if not suspects:
            return
    raise UnsupportedModelError(
        f"{anatomy.architecture} cannot be scored as it is loaded: layer {', '.join(map(str, sorted(suspects)))} hands on no "
        "correct gradient (its attention or another part is detached, runs without gradients, or is a kernel for "
        'inference), and every answer would look surer than it is; load it with attn_implementation="sdpa" or "eager", and '
        "without hooks that detach"
    )


def _wrong(model: nn.Module, anatomy: Anatomy, first_layer: int, step: float, seed: int, share: Share) -> set[int]:
    """The layers of the band whose gradient differs from the difference in one direction."""
    column = 0 if anatomy.cached else len(_PROMPT) + _AT
    noise = torch.Generator().manual_seed(seed)
    left: list[Tensor] = []  # what each layer gave: three rows, as it is, moved forth, moved back
    moves: list[Tensor] = []

    def move(hidden: Tensor) -> Tensor | None:
        if not torch.is_grad_enabled():  # the prefix
            return None
        left.append(hidden)
        state = hidden[:1].detach()
        e = torch.randn(state.shape[-1], generator=noise).to(state) * step * state[0, column]
        moves.append(e)
        moved = state.new_zeros(state.shape)
        moved[0, column] = e
        return torch.cat([state, state + moved, state - moved]).requires_grad_(True)

    with torch.inference_mode(False), torch.enable_grad(), untouched(model) as stack:
        for layer in anatomy.layers[first_layer:]:
            on_input(stack, layer, move)
        V = anatomy.head.out_features
        row = Row([i % V for i in _PROMPT], [i % V for i in _RESPONSE])
        suffix = run_suffix(stack, model, anatomy, [row] * 3, first_layer=first_layer, reach=-_AT)
        every = set(range(first_layer, len(anatomy.layers)))
        if len(moves) != len(every):  # the layers ran without a graph
            return every
        agree = {
            index
            for index, x, y, e in zip(sorted(every), suffix.band, [*left[1:], suffix.out], moves, strict=True)
            if _agrees(x, y[:, column + 1 :], e, column, share)
        }
    return every - agree


def _agrees(x: Tensor, later: Tensor, e: Tensor, column: int, share: Share) -> bool:
    """x: what entered a layer, (3, S, D). later: what it made of it at the positions behind `column`."""
    d = (later[1] - later[2]).detach().float() / 2
    expected = float(d.square().sum())
    if expected == 0.0 or not math.isfinite(expected):
        return True  # nothing comes through here at all, or it is no number: scoring says so of each answer
    slope = float((gradient_of(later, x, _row(d, later))[0, column].float() * e.float()).sum())
    return share[0] * expected <= slope <= share[1] * expected


def _row(d: Tensor, like: Tensor) -> Tensor:
    """`d` as the gradient of the first of three rows."""
    out = torch.zeros_like(like)
    out[0] = d.to(like.dtype)
    return out
