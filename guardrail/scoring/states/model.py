"""A linear probe on a hidden state: what a calibrator records of it. Knows nothing about how it was fitted.

The state is compressed to a few whitened directions, since a probe on all of them learns the calibration's questions by heart.
Far from the states that it was fitted on it says what holds without it: its weight fades there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from guardrail.array_text import array_in

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class _Arrays:
    """mean (D,), axes (D, k), weights (k,)."""

    mean: Floats
    axes: Floats
    weights: Floats


class StateProbe(BaseModel):
    """State, (D,) -> log-odds of being wrong, nats; higher = more uncertain. Numbers alone: no text can be read from them.

    Attributes:
        layer: The decoder layer, from 0, whose input is read.
        mean: Of the calibration's states, (D,) little-endian float32, base64.
        axes: Principal directions divided by the standard deviation along them, (D, k) float16, base64.
        weights: Of the whitened state, nats, (k,).
        base: The log-odds of being wrong among the calibration's answers: what is said far away, nats.
        intercept: What is said at the mean, nats.
        near: The length of a whitened state up to which the weights count in full.
        far: That from which they count nothing.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    layer: Annotated[int, Field(ge=0)]
    mean: str
    axes: str
    weights: Annotated[tuple[float, ...], Field(min_length=1)]
    base: float
    intercept: float
    near: Annotated[float, Field(ge=0)]
    far: float

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> Self:
        """Raises `ValueError` for options that are no probe."""
        try:
            return cls.model_validate(options)
        except ValueError as error:
            raise ValueError(f"they are no probe: {' '.join(str(error).split())[:200]}") from error

    @property
    def width(self) -> int:
        """D."""
        return len(self._arrays.mean)

    def numbers(self, states: ArrayLike) -> Floats:
        """Of each of n states, (n, D): (n,). NaN where a state is not finite.

        Raises `ValueError` for states of another width.
        """
        x = np.asarray(states, dtype=np.float64)
        if x.ndim != 2 or x.shape[1] != self.width:
            raise ValueError(f"states of shape {x.shape}; the probe's are (n, {self.width})")
        arrays, finite = self._arrays, np.asarray(np.isfinite(x).all(axis=1))
        whitened = (np.where(finite[:, None], x, 0.0) - arrays.mean) @ arrays.axes  # (n, k)
        length = np.linalg.norm(whitened, axis=1)
        kept = np.clip((self.far - length) / (self.far - self.near), 0.0, 1.0)
        said = self.base + kept * (self.intercept + whitened @ arrays.weights - self.base)
        out: Floats = np.where(finite, said, np.nan)
        return out

    @cached_property
    def _arrays(self) -> _Arrays:
        mean, axes = array_in(self.mean, "<f4", "mean"), array_in(self.axes, "<f2", "axes")
        if not len(mean) or len(axes) != len(mean) * len(self.weights):
            raise ValueError(f"{len(axes)} numbers in axes, for {len(mean)} in mean and {len(self.weights)} weights")
        return _Arrays(mean, axes.reshape(len(mean), -1), np.array(self.weights))

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> Self:
        _ = self._arrays
        if self.far <= self.near:
            raise ValueError(f"far {self.far} must lie beyond near {self.near}")
        return self
