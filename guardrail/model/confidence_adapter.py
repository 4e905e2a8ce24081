"""The adapter that a model states its confidence with, in a turn of its own.

It is an activated LoRA (Greenewald et al. 2025, arXiv 2504.12397): it works from the turn that asks for the confidence on, so
that answers, their scores and their KV cache are those of the base model. It stays beside the module, not in it: the module is
the base's for everything but that turn, and so are its identity and its calibrators.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from guardrail.errors import ModelError
from guardrail.files import read_bytes, read_text
from guardrail.json_text import parse
from guardrail.stated import FILE, StatedFile

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
_ABSENT: Mapping[str, Any] = {  # what would make it another kind of adapter, with what it is where it does not
    "use_dora": False,
    "use_rslora": False,
    "bias": "none",
    "modules_to_save": None,
    "rank_pattern": {},
    "alpha_pattern": {},
    "fan_in_fan_out": False,
}


@dataclass(frozen=True, slots=True, eq=False)
class ConfidenceAdapter:
    """An activated LoRA, as peft saves one.

    digest: SHA-256 of its weights' file. invocation: the token ids from which on it is active. scaling: alpha / r. weights: A,
    (r, in), and B, (out, r), by the name of the linear layer.
    """

    digest: str
    invocation: tuple[int, ...]
    scaling: float
    weights: Mapping[str, tuple[Tensor, Tensor]]

    @classmethod
    def load(cls, folder: Path, model: nn.Module) -> ConfidenceAdapter:
        """Raises `ModelError` for a folder that holds no such adapter, or one of another model."""
        from safetensors.torch import load

        try:
            config = parse(read_text(folder / CONFIG))
            content = read_bytes(folder / WEIGHTS, most=None)
            found = load(content)
        except Exception as error:  # damaged files make their readers raise anything
            reason = " ".join(str(error).split())[:200]
            raise ModelError(f"the adapter {str(folder)!r} cannot be read: {reason}; get its files again") from error
        invocation = config.get("alora_invocation_tokens")
        if not invocation:
            raise ModelError(
                f"{folder / CONFIG} names no alora_invocation_tokens, so the adapter would change the answers; train it with "
                "--turn after, or remove its stated_confidence.json to load it as a part of the model"
            )
        if odd := next((k for k, plain in _ABSENT.items() if (config.get(k) or plain) != plain), None):
            raise ModelError(
                f"{folder / CONFIG} has {odd} = {config[odd]!r}; a confidence is stated by a plain activated LoRA"
            )
        linear = {name: module for name, module in model.named_modules() if isinstance(module, nn.Linear)}
        pairs: dict[str, tuple[Tensor, Tensor]] = {}
        for key, a in found.items():
            if ".lora_A." not in key:
                continue
            name = key.removeprefix("base_model.model.").partition(".lora_A.")[0]
            b, layer = found.get(key.replace(".lora_A.", ".lora_B.")), linear.get(name)
            if b is None or layer is None or (b.shape[0], a.shape[1]) != (layer.out_features, layer.in_features):
                raise ModelError(
                    f"the adapter {str(folder)!r} does not fit its base model, in {name}; get its own base"
                )
            if not (torch.isfinite(a).all() and torch.isfinite(b).all()):
                raise ModelError(
                    f"the weights of the adapter {str(folder)!r} hold NaN or infinity, in {name}; train it again"
                )
            kind = (
                layer.weight.dtype if layer.weight.is_floating_point() else torch.float32
            )  # quantised: packed integers
            pairs[name] = (a.to(layer.weight.device, kind), b.to(layer.weight.device, kind))
        if 2 * len(pairs) != len(found) or not pairs:
            raise ModelError(f"the adapter {str(folder)!r} holds other weights than those of a LoRA; train it again")
        scaling = float(config["lora_alpha"]) / float(config["r"])
        return cls(hashlib.sha256(content).hexdigest(), tuple(map(int, invocation)), scaling, pairs)

    def start(self, ids: Sequence[int]) -> int:
        """From which position on it is active: where the invocation begins, the last time. Raises `ModelError` where it does
        not stand in `ids`."""
        at = last_start(ids, self.invocation)
        if at is not None:
            return at
        raise ModelError(
            "the turn that asks for the confidence is spelt in other tokens than the adapter was trained with: the chat "
            "template or the tokenizer is another one; use those of the base model, or train the adapter again"
        )

    @contextmanager
    def active(self, model: nn.Module, first: int) -> Iterator[None]:
        """Inside, its linear layers add B A x to their outputs, from position `first` of every row on."""

        def adding(a: Tensor, b: Tensor) -> Any:
            def hook(_: nn.Module, args: tuple[Tensor, ...], out: Tensor) -> Tensor:
                out = out.clone()
                out[:, first:] += ((args[0][:, first:].to(a.dtype) @ a.T @ b.T) * self.scaling).to(out.dtype)
                return out

            return hook

        modules = dict(model.named_modules())
        handles = [modules[name].register_forward_hook(adding(a, b)) for name, (a, b) in self.weights.items()]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()


def last_start(ids: Sequence[int], invocation: Sequence[int]) -> int | None:
    """Where in `ids` the invocation begins, the last time; None where it does not stand there."""
    n, sought = len(invocation), tuple(invocation)
    return next((at for at in range(len(ids) - n, -1, -1) if tuple(ids[at : at + n]) == sought), None)


def stated_by(folder: Path, model: nn.Module) -> tuple[StatedFile, ConfidenceAdapter | None] | None:
    """How the adapter in a folder states a confidence; None for one that does not. Raises `ModelError`, `DataError`."""
    told = stated_file(folder)
    if told is None:
        return None
    return told, ConfidenceAdapter.load(folder, model) if told.wording.turn == "after" else None


def stated_file(folder: Path) -> StatedFile | None:
    """What the adapter in a folder says of the confidence that it states; None for one that states none."""
    if not (folder / FILE).is_file():
        return None
    told = StatedFile.load(folder / FILE)
    if Path(told.base).expanduser().resolve() == folder.resolve():
        raise ModelError(
            f"{folder / FILE} names its own folder as the base model; set base to the model that was taught"
        )
    return told
