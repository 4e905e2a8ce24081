"""The distribution of a calibration's scores in at most 101 points, kept so that later scores can be compared with it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated, Self

import numpy as np
from numpy.typing import ArrayLike
from pydantic import BaseModel, ConfigDict, Field, model_validator

POINTS = 101


class Sketch(BaseModel):
    """Points of the empirical distribution function: `at_or_below[i]` of the calibration's scores are <= `scores[i]`.

    The first point is the lowest score, the last one the highest. unscored: answers, or claims, that had no score; None: not
    known.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)
    scores: Annotated[tuple[float, ...], Field(min_length=1)]
    at_or_below: tuple[Annotated[int, Field(ge=1)], ...]
    unscored: Annotated[int, Field(ge=0)] | None = None

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> Self:
        if len(self.scores) != len(self.at_or_below):
            raise ValueError(f"{len(self.scores)} scores with {len(self.at_or_below)} counts")
        for name, values in (("scores", self.scores), ("at_or_below", self.at_or_below)):
            if any(a >= b for a, b in pairwise(values)):
                raise ValueError(f"{name} must ascend, each value given once")
        return self


def sketch_of(scores: ArrayLike, *, unscored: int | None = None) -> Sketch:
    """The sketch of scores, (n,), finite: their quantiles at 0, 1, ... 100 %, as scores that occurred. Ties stay together.

    sketch_of([3.0, 1.0, 1.0]).at_or_below      # (2, 3): two scores are <= 1, three are <= 3
    """
    ordered = np.sort(np.asarray(scores, dtype=np.float64))
    ranks = np.unique(np.round(np.linspace(0, len(ordered) - 1, POINTS)).astype(np.intp))
    points = np.unique(ordered[ranks])
    counts = np.searchsorted(ordered, points, side="right")
    return Sketch(scores=tuple(points.tolist()), at_or_below=tuple(counts.tolist()), unscored=unscored)


def points_of(
    sketch: Sketch | None, blocks: Sequence[tuple[float, float, int]]
) -> tuple[Sequence[float], Sequence[int]]:
    """Scores, ascending, and how many of the calibration's are at or below each.

    blocks: (median score, last score, n) of a calibrator without a sketch. Equal scores share a block, so the count at its
    last score is exact; at its median it is exact where scores differ.
    """
    if sketch is not None:
        return sketch.scores, sketch.at_or_below
    found: dict[float, int] = {}
    before = 0
    for median, last, n in blocks:
        if median < last:
            found[median] = before + (n + 1) // 2
        before += n
        found[last] = before
    return list(found), list(found.values())
