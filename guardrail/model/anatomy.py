"""Where the parts of a decoder are, and what its head does: the facts that exact scoring needs.

Read from the module tree and the config, then proved on a small forward pass: an architecture whose logits are not what
these facts predict is refused by name.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import linear
from transformers import DynamicCache

from guardrail.errors import UnsupportedModelError
from guardrail.kernels.frozen import on_input, pass_through, untouched
from guardrail.kernels.prefix import attend_in_place, cache_of
from guardrail.model.decoder import run_decoder

PrefixMode = Literal["in place", "copied", "none"]
"""How scoring uses the prefix's keys and values.

in place: attention reads them where generation left them. copied: they go through the model's own cache, which copies them
in every layer. none: the whole prompt is run again. Each gives the same numbers.
"""

_CROPPABLE = {"full_attention", "sliding_attention"}  # with a full cache both keep every position


@dataclass(frozen=True, slots=True, eq=False)
class Anatomy:
    """The parts of a causal language model, after `read_anatomy` proved them.

    decoder: token ids -> hidden states after the final norm. layers: its blocks; block l reads h^(l). head: the LM head, a
    `nn.Linear` of weight (V, D). logits = cap(scale * head(h)), with cap(x) = softcap * tanh(x / softcap) where set.
    cache: how a suffix can be scored on the prefix's keys and values.
    """

    architecture: str
    decoder: nn.Module
    layers: nn.ModuleList
    head: nn.Linear
    scale: float
    softcap: float | None
    tied: bool
    cache: PrefixMode
    context: int | None

    @property
    def cached(self) -> bool:
        """Whether the KV cache keeps every position of every layer, so that a suffix can be scored on it."""
        return self.cache != "none"

    @property
    def head_kind(self) -> str:
        kind = "linear" if self.scale == 1.0 else f"linear, logits scaled by {self.scale:g}"
        return kind if self.softcap is None else f"{kind}, soft-capped at {self.softcap:g}"

    def logits(self, hidden: Tensor) -> Tensor:
        """Logits in float32, (..., V), of final hidden states (..., D)."""
        z = linear(hidden, self.head.weight, self.head.bias).float() * self.scale
        return z if self.softcap is None else self.softcap * torch.tanh(z / self.softcap)


def read_anatomy(model: nn.Module) -> Anatomy:
    """Find the parts of `model` and prove them by a forward pass over four tokens.

    Raises `UnsupportedModelError`, naming the architecture, when a part is missing or the proof fails.
    """
    name = type(model).__name__
    config = getattr(model, "config", None)
    if config is None or not hasattr(model, "get_output_embeddings"):
        raise UnsupportedModelError(f"{name} is not a transformers causal language model")
    text_config = config.get_text_config()
    head = model.get_output_embeddings()  # type: ignore[operator]
    if not isinstance(head, nn.Linear) or not head.weight.dtype.is_floating_point:
        raise UnsupportedModelError(
            f"{name} cannot be scored: its LM head is {type(head).__module__}.{type(head).__name__}, not a linear layer of "
            "floating-point weights (an adapter on it: merge it first, peft's merge_and_unload)"
        )
    if head.weight.is_meta or model.get_input_embeddings().weight.is_meta:  # type: ignore[operator]
        raise UnsupportedModelError(
            f"{name} cannot be scored: its LM head or embeddings are offloaded; keep them in memory"
        )
    decoder = _decoder(model, name)
    layers = _layers(decoder, int(text_config.num_hidden_layers), name)
    types = getattr(text_config, "layer_types", None)
    embeddings = model.get_input_embeddings()  # type: ignore[operator]
    cache = _find_prefix_mode(model, decoder, layers) if types is None or set(types) <= _CROPPABLE else "none"
    anatomy = Anatomy(
        architecture=name,
        decoder=decoder,
        layers=layers,
        head=head,
        scale=1.0,
        softcap=getattr(text_config, "final_logit_softcapping", None) or getattr(text_config, "logits_soft_cap", None),
        tied=getattr(embeddings, "weight", None) is head.weight,
        cache="none" if _rotation_depends_on_length(text_config) else cache,
        context=getattr(text_config, "max_position_embeddings", None),
    )
    for scale in logit_scales(text_config):
        if _logits_match(model, proved := replace(anatomy, scale=scale)):
            return proved
    raise UnsupportedModelError(
        f"{name} cannot be scored: its logits are not its LM head applied to its last hidden state "
        f"({proved.head_kind} was tried)"
    )


def _find_prefix_mode(model: nn.Module, decoder: nn.Module, layers: nn.ModuleList) -> PrefixMode:
    """The first mode whose suffix states equal those of a full pass."""
    modes: tuple[PrefixMode, ...] = ("in place", "copied")
    for mode in modes:
        try:
            if _suffix_runs_on_prefix(model, decoder, layers, in_place=mode == "in place"):
                return mode
        except (RuntimeError, TypeError, ValueError, AttributeError, IndexError, KeyError, NotImplementedError):
            continue  # a cache or an attention of another kind
    return "none"


@torch.no_grad()
def _suffix_runs_on_prefix(model: nn.Module, decoder: nn.Module, layers: nn.ModuleList, *, in_place: bool) -> bool:
    """Whether a suffix on its prefix's cache gives the states of a full pass, as scoring runs it: with given positions,
    through all layers, and with the upper half alone."""
    device = model.get_input_embeddings().weight.device  # type: ignore[operator]
    ids = torch.tensor([[1, 2, 3, 1, 2]], device=device) % model.get_input_embeddings().weight.shape[0]  # type: ignore[operator]
    positions = torch.arange(5, device=device).unsqueeze(0)
    ones = torch.ones_like(ids)
    middle = len(layers) // 2
    entering: list[Tensor] = []

    def suffix(kept: list[tuple[Tensor, Tensor] | None]) -> bool:
        cache = cache_of(kept, 3, in_place=in_place)
        states = run_decoder(decoder, ids[:, 3:], mask=ones, positions=positions[:, 3:], cache=cache).last_hidden_state
        tolerance = 1e-4 if whole.dtype == torch.float32 else 2e-2
        size = float(whole.float().abs().max())
        return torch.allclose(states.float(), whole.float(), rtol=tolerance, atol=tolerance * size)

    with untouched(model) as stack:
        on_input(stack, layers[middle], entering.append)
        whole = run_decoder(decoder, ids).last_hidden_state[:, 3:]
        cache = DynamicCache()
        run_decoder(decoder, ids[:, :3], mask=ones[:, :3], positions=positions[:, :3], cache=cache)
        if len(cache.layers) != len(layers) or any(layer.get_seq_length() != 3 for layer in cache.layers):
            return False
        kept: list[tuple[Tensor, Tensor] | None] = [(layer.keys, layer.values) for layer in cache.layers]
        if in_place:
            attend_in_place(stack, decoder)
        if not suffix(kept):
            return False
        for layer in layers[:middle]:
            pass_through(stack, layer)
        on_input(stack, layers[middle], lambda _: entering[0][:, 3:])
        return suffix([None if index < middle else kv for index, kv in enumerate(kept)])


def _decoder(model: nn.Module, name: str) -> nn.Module:
    decoder = model.get_decoder() if hasattr(model, "get_decoder") else None  # type: ignore[operator]
    if decoder is model:  # where transformers does not find it
        decoder = getattr(model, "model", None)
    if not isinstance(decoder, nn.Module) or decoder is model:
        raise UnsupportedModelError(f"{name} cannot be scored: no decoder stack was found in it")
    return decoder


def _layers(decoder: nn.Module, count: int, name: str) -> nn.ModuleList:
    found = [m for m in decoder.children() if isinstance(m, nn.ModuleList) and len(m) == count]
    if len(found) != 1:
        raise UnsupportedModelError(
            f"{name} cannot be scored: {len(found)} lists of {count} layers in its decoder, not one"
        )
    if len(set(found[0])) != count:
        raise UnsupportedModelError(f"{name} cannot be scored: one of its layers runs more than once")
    return found[0]


def logit_scales(config: Any) -> list[float]:
    """What logits may be multiplied by; the proof tells. Granite divides by `logits_scaling`, HyperCLOVA X multiplies."""
    factor = getattr(config, "logits_scaling", None)
    if factor is not None:
        return [1.0 / float(factor), float(factor)]
    for name in ("logit_scale", "lm_head_multiplier"):  # Cohere; Falcon H1
        if (factor := getattr(config, name, None)) is not None:
            return [float(factor)]
    return [1.0]


def _rotation_depends_on_length(config: Any) -> bool:
    """Whether positions are rotated by the length of the pass they are in, so that prefix and suffix may not fit together."""
    parameters = getattr(config, "rope_parameters", None) or {}
    by_layer_type = [p for p in parameters.values() if isinstance(p, dict)]
    kinds = [parameters, *by_layer_type]
    return any(kind.get("rope_type") in ("longrope", "dynamic") for kind in kinds)


@torch.no_grad()
def _logits_match(model: nn.Module, anatomy: Anatomy) -> bool:
    """Whether the model's logits are what the anatomy says. Raises `UnsupportedModelError` for layers of another kind."""
    device = model.get_input_embeddings().weight.device  # type: ignore[operator]
    ids = torch.arange(1, 5, device=device).unsqueeze(0) % anatomy.head.out_features
    entering: list[Any] = []
    with untouched(model) as stack:
        on_input(stack, anatomy.layers[len(anatomy.layers) // 2], entering.append)
        expected = run_decoder(model, ids).logits.float()
        hidden = run_decoder(anatomy.decoder, ids).last_hidden_state
        actual = anatomy.logits(hidden.to(anatomy.head.weight.device)).to(expected.device)
    if not entering or getattr(entering[0], "ndim", 0) != 3 or entering[0].shape[:2] != ids.shape:
        raise UnsupportedModelError(
            f"{anatomy.architecture} cannot be scored: its layers do not pass on one state a token, (batch, positions, units)"
        )
    if not bool(expected.isfinite().all()):
        raise UnsupportedModelError(
            f"{anatomy.architecture} cannot be scored: its logits are NaN or infinite; its weights are damaged, or overflow in "
            f"{str(anatomy.head.weight.dtype).removeprefix('torch.')}: get its files again, or load it in float32"
        )
    tolerance = 1e-4 if anatomy.head.weight.dtype == torch.float32 else 1e-2
    return expected.shape == actual.shape and torch.allclose(
        actual, expected, rtol=tolerance, atol=tolerance * float(expected.abs().max())
    )
