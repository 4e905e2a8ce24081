"""A model's profile: which token, band, reduction and scale its score uses, and eq. 6 on them. Knows nothing about models.

The paper's formula with the chat template's token is the prior; `guardrail calibrate` may choose another by
cross-validation, and the calibrator then carries the profile it was fitted with.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from itertools import pairwise
from typing import Literal, Self

import numpy as np
from numpy.typing import ArrayLike
from pydantic import BaseModel, ConfigDict, Field, model_validator

from guardrail.errors import ScoringError

Band = Literal["code", "text"]
Reduction = Literal["mean", "sum"]
Scale = Literal["raw", "quantile"]
QUANTILES = 101
"""Points of a quantile scale: at 0 %, 1 %, ..., 100 %."""


class Profile(BaseModel):
    """How SemGrad and ParaGrad become one number; higher = more uncertain.

    Attributes:
        token: Offset of t* from the prompt's end, -1 = its last token.
        token_source: Where that offset comes from, in words; it changes no score.
        band: "code", the last floor(L/2) of h^(0)..h^(L-1), as in the authors' released code, or "text",
            h^(L/2+1)..h^(L-1), as in the paper.
        reduction: J is the mean or the sum over the response tokens.
        scale: "raw" is eq. 6; "quantile" first replaces each part by its quantile among the calibration data.
        tau: Appendix D.3: alpha = exp(-mean entropy / tau).
        beta: Appendix D.3: HybridGrad = (1 - alpha) SemGrad + beta alpha ParaGrad.
        alpha: A fixed weight in place of eq. 6's; None means eq. 6.
        semgrad_quantiles: SemGrad's quantiles among the calibration data, ascending; empty on the raw scale.
        paragrad_quantiles: The same of ParaGrad.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    token: int = Field(le=-1)
    token_source: str = "given"
    band: Band = "code"
    reduction: Reduction = "mean"
    scale: Scale = "raw"
    tau: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    beta: float = Field(default=1.0, ge=0, allow_inf_nan=False)
    alpha: float | None = Field(default=None, ge=0, le=1)
    semgrad_quantiles: tuple[float, ...] = ()
    paragrad_quantiles: tuple[float, ...] = ()

    @model_validator(mode="after")
    def _quantiles_fit_the_scale(self) -> Self:
        for name, grid in (("semgrad", self.semgrad_quantiles), ("paragrad", self.paragrad_quantiles)):
            if (self.scale == "quantile") != (len(grid) >= 2):
                raise ValueError(f"scale {self.scale!r} with {len(grid)} {name} quantiles")
            if any(not math.isfinite(x) for x in grid) or any(a > b for a, b in pairwise(grid)):
                raise ValueError(f"the {name} quantiles are not finite and ascending")
        return self

    def combine(self, semgrad: float, paragrad: float, entropy: float) -> float:
        """HybridGrad, eq. 6. semgrad, paragrad: already reduced as `reduction` says; entropy: mean over tokens, nats."""
        if self.scale == "quantile":
            semgrad = quantile_of(semgrad, self.semgrad_quantiles)
            paragrad = quantile_of(paragrad, self.paragrad_quantiles)
        alpha = math.exp(-entropy / self.tau) if self.alpha is None else self.alpha
        return (1 - alpha) * semgrad + self.beta * alpha * paragrad

    def on_scale_of(self, semgrad: ArrayLike, paragrad: ArrayLike) -> Self:
        """The profile with the quantiles of these parts, (n,) each, if it is on the quantile scale; else itself."""
        if self.scale == "raw":
            return self
        grids = {"semgrad_quantiles": quantiles(semgrad), "paragrad_quantiles": quantiles(paragrad)}
        return type(self).model_validate({**self.model_dump(), **grids})


def band_start(band: Band, layers: int) -> int:
    """l of the band's first h^(l); the last is h^(layers - 1). Raises `ScoringError` where the band would be empty."""
    first = layers - layers // 2 if band == "code" else layers // 2 + 1
    if first >= layers:
        raise ScoringError(
            f"band {band!r} of a model with {layers} layers is empty; use band 'code' and 2 layers or more"
        )
    return first


def quantiles(values: ArrayLike) -> tuple[float, ...]:
    """The grid of a quantile scale, ascending, from values (n,)."""
    found: list[float] = np.quantile(np.asarray(values, dtype=np.float64), np.linspace(0, 1, QUANTILES)).tolist()
    return tuple(found)


def quantile_of(x: float, grid: Sequence[float]) -> float:
    """Where x lies among `grid`, the ascending quantiles at 0, 1/(n-1), ..., 1: in [0, 1], linear in between.

    Outside, it goes on in proportion to log x, by at most 1 each way, so that two answers beyond the grid keep their order.
    """
    if x <= grid[0]:
        return _beyond(x, grid[0], -1)
    if x >= grid[-1]:
        return 1 + _beyond(x, grid[-1], 1)
    below = bisect_right(grid, x) - 1
    step = grid[below + 1] - grid[below]
    return (below + (x - grid[below]) / step) / (len(grid) - 1)


def _beyond(x: float, end: float, side: int) -> float:
    if x <= 0 or end <= 0:
        return -1.0 if x < end else 0.0
    return side * min(1.0, 0.1 * abs(math.log(x) - math.log(end)))  # x / end may be 0
