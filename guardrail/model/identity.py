"""Says which model this is, so that a calibrator cannot be used with another one."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict

from guardrail.errors import ModelError


class ModelIdentity(BaseModel):
    """What makes two models the same for a calibrator; `name` is for people and is not compared.

    architecture: the transformers class. weights: SHA-256 over samples of every parameter. dtype: of the parameters.
    chat_template: SHA-256 of the template's text, and of the
    switches that it is given, where there are any.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    architecture: str
    weights: str
    dtype: str
    chat_template: str


def identify(name: str, model: Any, tokenizer: Any, switches: Mapping[str, Any] | None = None) -> ModelIdentity:
    """The identity of a loaded model. switches: what its template is given beside the messages."""
    said = json.dumps(switches, sort_keys=True, default=repr) if switches else ""
    return ModelIdentity(
        name=name,
        architecture=type(model).__name__,
        weights=weights_hash(model),
        dtype=str(model.dtype).removeprefix("torch."),
        chat_template=text_hash(_template(tokenizer) + said),
    )


def _template(tokenizer: Any) -> str:
    """The template that `apply_chat_template` takes; a tokenizer may have several, by name."""
    own = getattr(tokenizer, "chat_template", None)
    return str(tokenizer.get_chat_template()) if own else ""


def text_hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


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
