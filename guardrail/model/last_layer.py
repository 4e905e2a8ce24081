"""What stands above the layers, alone: a checkpoint's final norm and LM head, without the layers. Experimental.

For states that another engine computed. The norm and the head of most decoders are one `nn.Module` and one `nn.Linear`; where
there is more, or where the numbers could mean two things, the model is refused.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor, nn
from transformers import AutoConfig

from guardrail.errors import ModelNotFoundError, UnsupportedModelError
from guardrail.files import read_text
from guardrail.json_text import parse
from guardrail.model.anatomy import Anatomy, logit_scales
from guardrail.model.families import class_for
from guardrail.model.identity import require_finite_weights

_NORMS = ("norm", "final_layernorm", "final_layer_norm", "ln_f", "final_norm")
_BELOW = ("embed", "wte", "wpe", "rotary", "drop", "layers", "blocks")
"""Beginnings of the names of what acts before the last layer's end."""

_INDEX, _ONE = "model.safetensors.index.json", "model.safetensors"


@dataclass(frozen=True, slots=True, eq=False)
class LastLayer:
    """The final norm, and the head as an `Anatomy` without layers, which is what `read_heads` takes."""

    norm: nn.Module
    anatomy: Anatomy
    layers: int

    @classmethod
    def load(cls, folder: str | Path, *, device: str = "cpu", dtype: torch.dtype | None = None) -> LastLayer:
        """Read the two from a folder of safetensors; the rest of the checkpoint is not read.

        Args:
            folder: A model's folder, with config.json.
            device: Where they are kept.
            dtype: Theirs; by default the checkpoint's own.

        Raises:
            ModelNotFoundError: There is no such checkpoint, or it lacks one of the two.
            UnsupportedModelError: What stands above the layers is not a norm and a linear head.
        """
        folder = Path(folder)
        if not (folder / "config.json").is_file():
            raise ModelNotFoundError(f"there is no config.json in {str(folder)!r}; give the folder of a model")
        config = AutoConfig.from_pretrained(folder)
        with torch.device("meta"):
            model: Any = class_for(str(folder), str(folder), trust_remote_code=False).from_config(config)
        name, head = type(model).__name__, model.get_output_embeddings()
        decoder = model.get_decoder()
        if type(head) is not nn.Linear:
            raise UnsupportedModelError(f"{name}: its LM head is {type(head).__name__}, not a linear layer")
        norm = _norm_of(decoder, name)
        text_config = config.get_text_config()
        scales = logit_scales(text_config)
        if len(scales) != 1:
            raise UnsupportedModelError(f"{name}: without its layers it cannot be told how its logits are scaled")
        embeddings = model.get_input_embeddings()
        tied = bool(text_config.tie_word_embeddings) or embeddings.weight is head.weight
        names = {id(module): path for path, module in model.named_modules()}
        wanted = {
            **{("norm", key): f"{names[id(norm)]}.{key}" for key, _ in norm.named_parameters()},
            ("head", "weight"): f"{names[id(embeddings if tied else head)]}.weight",
            **({} if head.bias is None else {("head", "bias"): f"{names[id(head)]}.bias"}),
        }
        read = _tensors(folder, wanted.values())
        for part, module in (("norm", norm), ("head", head)):
            given = {key: read[path].to(dtype) for (of, key), path in wanted.items() if of == part}
            module.load_state_dict(given, assign=True)
            module.to(device).eval().requires_grad_(False)
            require_finite_weights(str(folder), module)
        anatomy = Anatomy(
            architecture=name,
            decoder=norm,
            layers=nn.ModuleList(),
            head=head,
            scale=scales[0],
            softcap=getattr(text_config, "final_logit_softcapping", None)
            or getattr(text_config, "logits_soft_cap", None),
            tied=tied,
            cache="none",
            context=getattr(text_config, "max_position_embeddings", None),
        )
        return cls(norm, anatomy, int(text_config.num_hidden_layers))

    @torch.no_grad()
    def final(self, states: Tensor) -> Tensor:
        """What the head reads, (T, D), of what left the last layer, (T, D), before the norm."""
        weight = self.anatomy.head.weight
        out: Tensor = self.norm(states.to(weight.device, weight.dtype))
        return out


def _norm_of(decoder: nn.Module, name: str) -> nn.Module:
    """The one part of a decoder above its layers. Raises `UnsupportedModelError` for another, or more."""
    above = [child for path, child in decoder.named_children() if path != "h" and not path.startswith(_BELOW)]
    named = [child for path, child in decoder.named_children() if path in _NORMS]
    if len(above) != 1 or above != named:
        raise UnsupportedModelError(
            f"{name}: above its layers there are {[type(child).__name__ for child in above]}, not a final norm alone; score "
            "it with the whole model: --score-with"
        )
    return above[0]


def _tensors(folder: Path, names: Iterable[str]) -> dict[str, Tensor]:
    """These tensors of a checkpoint, and no others are read. Raises `ModelNotFoundError`."""
    names = list(names)
    try:
        index = folder / _INDEX
        files = parse(read_text(index))["weight_map"] if index.is_file() else dict.fromkeys(names, _ONE)
        out = {}
        for path in names:
            with safe_open(folder / files[path], framework="pt") as file:
                out[path] = file.get_tensor(path)
    except Exception as error:  # safetensors' own errors, files that are not there, an index that is none
        raise ModelNotFoundError(
            f"{str(folder)!r} does not give its final norm and LM head as safetensors: {' '.join(str(error).split())[:200]}"
        ) from error
    return out
