"""How an adapter is trained. Imports nothing heavy: the command line reads it before any model is loaded."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal

from guardrail.errors import DataError

Teacher = Literal["sampling", "hybridgrad", "labels"]
"""Who says how sure the model is. sampling: how often its samples say the same. hybridgrad: the calibrated confidence of its
greedy answer, from one pass. labels: nobody; a proper scoring rule on right or wrong."""


@dataclass(frozen=True, slots=True)
class Training:
    """LoRA on every linear layer of the decoder, AdamW with a linear decay.

    Attributes:
        epochs: How often each lesson is read.
        batch_size: Lessons a step.
        learning_rate: At the start.
        rank: Of the adapter; alpha is twice that.
        seed: Of the order of lessons, and of the adapter's first weights.

    Raises:
        DataError: For a number that is not above 0, or not finite.
    """

    epochs: float = 2.0
    batch_size: int = 8
    learning_rate: float = 3e-4
    rank: int = 8
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "learning_rate", "rank"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise DataError(f"{name.replace('_', ' ')} is {value}; it must be greater than 0 and finite")

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)
