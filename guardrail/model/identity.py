"""Says which model this is, so that a calibrator cannot be used with another one. Knows nothing about calibration."""

from __future__ import annotations

import hashlib
from typing import Any

from pydantic import BaseModel, ConfigDict


class ModelIdentity(BaseModel):
    """What makes two models the same for a calibrator; `name` is for people and is not compared.

    architecture: the transformers class. weights: SHA-256 over samples of every parameter. dtype: of the parameters.
    chat_template: SHA-256 of the template's text.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    architecture: str
    weights: str
    dtype: str
    chat_template: str


def identify(name: str, model: Any, tokenizer: Any) -> ModelIdentity:
    """The identity of a loaded model."""
    return ModelIdentity(
        name=name,
        architecture=type(model).__name__,
        weights=weights_hash(model),
        dtype=str(model.dtype).removeprefix("torch."),
        chat_template=text_hash(getattr(tokenizer, "chat_template", None) or ""),
    )


def text_hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def weights_hash(model: Any, samples: int = 64) -> str:
    """SHA-256 over `samples` evenly spaced elements of every parameter: milliseconds, and no fine-tuning leaves it equal.

    Hashing every byte of a large model would cost more than answering with it.
    """
    import torch

    digest = hashlib.sha256()
    for name, parameter in model.named_parameters():
        flat = parameter.detach().reshape(-1)
        digest.update(f"{name}{tuple(parameter.shape)}".encode())
        if flat.numel() and not flat.is_meta:
            count = min(samples, flat.numel())
            index = torch.arange(count, device=flat.device) * (flat.numel() - 1) // max(count - 1, 1)
            digest.update(flat[index].cpu().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
