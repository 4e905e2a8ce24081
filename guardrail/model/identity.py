"""Says which model this is, so that a calibrator cannot be used with another one."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, SerializerFunctionWrapHandler, model_serializer

from guardrail.errors import ModelError

SAME = {
    "weights": "weights",
    "dtype": "dtype",
    "chat_template": "chat_template",
    "end_ids": "end-of-turn token ids",
}
"""What two models have in common where they are the same for a calibrator, each with what messages call it."""

_READABLE = ("torch.float64", "torch.float32", "torch.bfloat16", "torch.float16")


class ModelIdentity(BaseModel):
    """What makes two models the same for a calibrator; `name` is for people and is not compared.

    architecture: the transformers class. weights: SHA-256 over samples of every parameter. dtype: of the parameters.
    chat_template: SHA-256 of the template's text, and of the switches that it is given, where there are any. end_ids: the
    token ids that end an answer, ascending, with spaces between; empty where that is not known, as in files of earlier
    versions, and not compared then. engine: what generated the answers, as an endpoint tells; empty for a model in memory. It
    makes no other model, and what was calibrated on another one is extrapolated.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    architecture: str
    weights: str
    dtype: str
    chat_template: str
    end_ids: str = ""
    engine: str = ""

    @model_serializer(mode="wrap")
    def _without_what_is_not_known(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """A file of an earlier version keeps its digest."""
        out: dict[str, Any] = handler(self)
        return {key: value for key, value in out.items() if value or key not in ("end_ids", "engine")}


def told_apart(theirs: ModelIdentity, ours: ModelIdentity) -> list[str]:
    """The fields of `SAME` by which two models differ; none for the same model."""
    pairs = {field: (getattr(theirs, field), getattr(ours, field)) for field in SAME}
    return [field for field, (a, b) in pairs.items() if a != b and not (field == "end_ids" and "" in (a, b))]


def identify(
    name: str, model: Any, tokenizer: Any, switches: Mapping[str, Any] | None = None, end_ids: Iterable[int] = ()
) -> ModelIdentity:
    """The identity of a loaded model. switches: what its template is given beside the messages. end_ids: what ends an answer.

    Raises `ModelError` for weights that are not there, and for NaN or infinity in them.
    """
    require_finite_weights(name, model)
    said = json.dumps(switches, sort_keys=True, default=repr) if switches else ""
    return ModelIdentity(
        name=name,
        architecture=type(model).__name__,
        weights=weights_hash(model),
        dtype=str(model.dtype).removeprefix("torch."),
        chat_template=text_hash(_template(tokenizer) + said),
        end_ids=" ".join(map(str, sorted(end_ids))),
    )


def _template(tokenizer: Any) -> str:
    """The template that `apply_chat_template` takes; a tokenizer may have several, by name."""
    own = getattr(tokenizer, "chat_template", None)
    return str(tokenizer.get_chat_template()) if own else ""


def text_hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def require_finite_weights(name: str, model: Any) -> None:
    """Raise `ModelError`, naming the first, for a parameter that holds NaN or infinity: such a model answers with nothing.

    Every weight is read once, as loading does.
    """
    import torch

    for key, parameter in model.named_parameters():
        weights = parameter.detach()
        if (
            weights.is_meta
            or type(weights) is not torch.Tensor
            or str(weights.dtype) not in _READABLE
            or not weights.numel()
        ):
            continue  # quantised: its kinds of numbers have no infinity, or no way to ask
        low, high = torch.aminmax(weights)  # NaN is both
        if not bool(torch.isfinite(low) & torch.isfinite(high)):
            raise ModelError(
                f"the weights of {name} hold NaN or infinity, in {key}: they are damaged, or overflow in "
                f"{str(weights.dtype).removeprefix('torch.')}; get the files again, or load the model in float32"
            )


def weights_hash(model: Any, samples: int = 64) -> str:
    """SHA-256 over `samples` evenly spaced elements of every parameter and saved buffer: milliseconds, and training that
    moves the weights moves some of them. Raises `ModelError` for weights that are not there (offloaded).

    Hashing every byte of a large model would cost more than answering with it.
    """
    import torch

    digest = hashlib.sha256()
    tensors = dict(model.named_parameters())
    known = {name for name, _ in model.named_parameters(remove_duplicate=False)}
    tensors.update((name, x) for name, x in model.state_dict().items() if name not in known)  # packed quantised weights
    for name, tensor in tensors.items():
        if not isinstance(tensor, torch.Tensor):
            continue
        if tensor.is_meta:
            raise ModelError(
                f"the parameter {name} is offloaded, so this model cannot be told from others; load it whole"
            )
        flat = tensor.detach().reshape(-1)
        digest.update(f"{name}{tuple(tensor.shape)}".encode())
        if flat.numel():
            count = min(samples, flat.numel())
            index = torch.arange(count, device=flat.device) * (flat.numel() - 1) // max(count - 1, 1)
            digest.update(flat[index].cpu().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
