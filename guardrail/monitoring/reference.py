"""What a calibrator knows about the answers that it was fitted on, in the form that a log is compared with."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from guardrail.calibration.isotonic import IsotonicCalibrator
from guardrail.calibration.metrics import Floats
from guardrail.calibration.provenance import Unit
from guardrail.calibration.sketch import POINTS, points_of

GROUPS = 10


@dataclass(frozen=True, slots=True)
class Reference:
    """The calibration's scores, sorted into cells: cell i holds those in (points[i-1], points[i]], the last those above all.

    points: (K,), ascending. counts: (K + 1,), of the calibration. n: their sum. unscored: those without a score; None: not
    known. exact: whether the file has a sketch, or only the ends and the medians of its blocks.
    """

    points: Floats
    counts: Floats
    n: int
    unscored: int | None
    unit: Unit
    exact: bool
    calibrator: IsotonicCalibrator

    @classmethod
    def of(cls, calibrator: IsotonicCalibrator) -> Reference:
        sketch = calibrator.sketch
        points, cumulated = points_of(sketch, [(b.score, b.last, b.n) for b in calibrator.blocks])
        return cls(
            points=np.array(points),
            counts=np.diff([0, *cumulated, cumulated[-1]]).astype(np.float64),
            n=calibrator.n,
            unscored=sketch.unscored if sketch else None,
            unit=calibrator.unit,
            exact=sketch is not None,
            calibrator=calibrator,
        )

    def cells(self, scores: Floats) -> Floats:
        """How many of `scores`, (n,), fall into each cell: (K + 1,)."""
        at = np.searchsorted(self.points, scores, side="left")
        return np.bincount(at, minlength=len(self.counts)).astype(np.float64)

    def groups(self) -> Floats:
        """Which tenth of the calibration's scores each cell belongs to, by its middle: (K + 1,), 0 to 9."""
        middle = np.cumsum(self.counts) - self.counts / 2
        return np.minimum(GROUPS - 1, np.floor(GROUPS * middle / self.n))

    def scores(self, most: int = 4000) -> tuple[Floats, Floats]:
        """Distinct scores distributed as the calibration's were, ascending, and how many have each: (m,) both, m <= most.

        Between two points they are spread evenly, except where a sketch has so few points that they are all there is.
        """
        cumulated = np.cumsum(self.counts)[:-1]
        ranks = np.unique(np.round(np.linspace(0, self.n, min(self.n, most) + 1)))[1:]
        if self.exact and len(self.points) < min(self.n, POINTS) // 2:
            spread = self.points[np.searchsorted(cumulated, ranks, side="left")]
        else:
            spread = np.interp(ranks, cumulated, self.points)
        distinct, member = np.unique(spread, return_inverse=True)
        return distinct, np.bincount(member, weights=np.diff(ranks, prepend=0.0)).astype(np.float64)
