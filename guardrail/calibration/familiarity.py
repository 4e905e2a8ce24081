"""How like the questions of a calibration a new one is, told from the model's own state at the end of the question's prompt.

A question of another kind has an ordinary score; only the question tells that it is another kind. What is kept of the
calibration's questions is their states, compressed (`Projection`): centred, whitened along their principal directions, with
what lies outside these as one more length. A new question's likeness is its mean Tanimoto similarity, a.b / (a.a + b.b - a.b),
to its nearest neighbours among them: a cosine that also falls where the lengths differ, so that far away is not alike. Its rank
among the likenesses of the calibration's own questions, each measured by a projection that was fitted without it, is a
conformal p-value: of questions drawn as those of the calibration were, at most a share p gets p or less.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Annotated, Self

import numpy as np
from numpy.typing import ArrayLike
from pydantic import BaseModel, ConfigDict, Field, model_validator

from guardrail.array_text import array_in
from guardrail.calibration.labels import label_for
from guardrail.calibration.metrics import Bools, Floats
from guardrail.errors import CalibrationError
from guardrail.types import UNLIKE, Confidence

DOUBTFUL = 0.10
"""Between this p-value and `UNLIKE` a probability moves towards what is known of unlike questions."""
UNLIKE_REASON = "unlike the questions of the calibration"

_NEIGHBOURS = 5
_Share = Annotated[float, Field(ge=0, le=1)]


@dataclass(frozen=True, slots=True, eq=False)
class Projection:
    """States, (n, D), -> whitened ones, (n, k), and their squared lengths, (n,), what lies outside of the directions included.

    mean: (D,). directions: (D, k), orthonormal. spread: (k,), standard deviations along them. rest: what a squared length
    outside of them weighs, against squared whitened lengths.
    """

    mean: Floats
    directions: Floats
    spread: Floats
    rest: float

    def __call__(self, states: Floats) -> tuple[Floats, Floats]:
        centred = states - self.mean
        along = centred @ self.directions
        outside = np.maximum((centred**2).sum(1) - (along**2).sum(1), 0.0)
        whitened: Floats = along / self.spread
        return whitened, (whitened**2).sum(1) + self.rest * outside


class Familiarity(BaseModel):
    """The questions of a calibration, as numbers alone: no text can be read from them.

    Attributes:
        layer: The decoder layer, from 0, whose input at the prompt's last token is compared.
        mean: Of the calibration's states, (D,) little-endian float32, base64.
        directions: Principal directions, orthonormal, (D, k) float16, base64.
        spread: Standard deviations along them, (k,) float32, base64.
        rest: What a squared length outside of the directions weighs.
        points: The whitened states, (n, k) int8, in steps of `step`, base64.
        step: See `points`.
        lengths: Their squared lengths, what lies outside of the directions included, (n,) float32, base64.
        own: The likeness of the calibration's questions to each other, ascending, (n,) float32, base64.
        retained: Share of what a curve says that is left of the accuracy on a kind of question that it was not fitted on,
            the mean over kinds, each left out in turn; at most 1. None where that could not be measured.
        lowest: The same of the worst kind.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    layer: Annotated[int, Field(ge=0)]
    mean: str
    directions: str
    spread: str
    rest: Annotated[float, Field(ge=0)]
    points: str
    step: Annotated[float, Field(gt=0)]
    lengths: str
    own: str
    retained: _Share | None = None
    lowest: _Share | None = None

    @property
    def width(self) -> int:
        """D, the width of the states that it compares."""
        return len(self._kept.project.mean)

    def p_values(self, states: ArrayLike) -> Floats:
        """How like the calibration's questions these are: (n,) in (0, 1], higher = more alike.

        Args:
            states: What enters layer `layer` at the last token of each question's prompt, (n, D). NaN and infinity are like
                nothing.

        Raises:
            CalibrationError: For states of another width.
        """
        x = np.asarray(states, dtype=np.float64)
        kept = self._kept
        if x.ndim != 2 or x.shape[1] != self.width:
            raise CalibrationError(f"states of shape {x.shape}; the calibration's are (n, {self.width})")
        finite: Bools = np.atleast_1d(np.isfinite(x).all(axis=1))
        found = likeness(kept.project(np.where(finite[:, None], x, 0.0)), (kept.points, kept.lengths))
        rank = np.where(finite, np.searchsorted(kept.own, found, side="right"), 0)
        out: Floats = (1 + rank) / (len(kept.own) + 1)
        return out

    def applied(self, confidence: Confidence, p_value: float) -> Confidence:
        """The confidence in an answer to a question with this p-value.

        Up to `UNLIKE` it is `extrapolated`, its probability is what is known of kinds of questions that were left out, and the
        interval reaches down to the worst of them; from `DOUBTFUL` on it is what the curve says; in between it moves from one
        to the other.
        """
        if confidence.p_correct is None or confidence.low is None:
            return replace(confidence, familiarity=p_value)
        share = min(1.0, max(0.0, (DOUBTFUL - p_value) / (DOUBTFUL - UNLIKE)))
        p = confidence.p_correct * (1 - share * (1 - (1.0 if self.retained is None else self.retained)))
        low = min(p, confidence.low * (1 - share * (1 - (self.lowest or 0.0))))
        out = replace(confidence, p_correct=p, low=low, label=label_for(p), familiarity=p_value)
        if p_value > UNLIKE:
            return out
        return replace(out, basis="extrapolated", reason="; ".join(filter(None, [confidence.reason, UNLIKE_REASON])))

    @cached_property
    def _kept(self) -> _Kept:
        mean = array_in(self.mean, "<f4", "mean")
        spread = array_in(self.spread, "<f4", "spread")
        directions = array_in(self.directions, "<f2", "directions")
        points = array_in(self.points, "i1", "points") * self.step
        lengths = array_in(self.lengths, "<f4", "lengths")
        own = array_in(self.own, "<f4", "own")
        if not len(mean) or not len(spread) or len(directions) != len(mean) * len(spread):
            raise ValueError(
                f"{len(directions)} numbers in directions, for {len(mean)} in mean and {len(spread)} in spread"
            )
        if not len(own) or not len(lengths) or len(points) != len(lengths) * len(spread):
            raise ValueError(
                f"{len(points)} numbers in points, for {len(lengths)} in lengths and {len(spread)} in spread"
            )
        if (spread <= 0).any() or (lengths < 0).any() or (np.diff(own) < 0).any():
            raise ValueError("spread must be above 0, lengths not below, and own must ascend")
        project = Projection(mean, directions.reshape(len(mean), -1), spread, self.rest)
        return _Kept(project, points.reshape(-1, len(spread)), lengths, own)

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> Self:
        _ = self._kept
        if (self.retained is None) != (self.lowest is None) or (self.lowest or 0.0) > (self.retained or 0.0):
            raise ValueError(f"lowest {self.lowest} beside retained {self.retained}")
        return self


@dataclass(frozen=True, slots=True, eq=False)
class _Kept:
    """project, points (n, k), lengths (n,), own (n,) ascending, as arrays."""

    project: Projection
    points: Floats
    lengths: Floats
    own: Floats


def likeness(new: tuple[Floats, Floats], known: tuple[Floats, Floats]) -> Floats:
    """The mean Tanimoto similarity of each of n new ones to its nearest neighbours among m known ones, (n,).

    new, known: what a `Projection` gives, (n, k) and (n,), (m, k) and (m,).
    """
    (rows, squares), (points, lengths) = new, known
    products = rows @ points.T
    apart = squares[:, None] + lengths[None] - products
    alike = np.where(apart > 0, products / np.where(apart > 0, apart, 1.0), 1.0)  # two zeros are the same
    most = min(_NEIGHBOURS, alike.shape[1])
    nearest = np.partition(alike, -most, axis=1)[:, -most:]
    out: Floats = nearest.mean(1)
    return out
