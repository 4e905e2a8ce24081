"""Points -> the record of an isotonic curve, and what it would have said of points that it has not seen."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from guardrail.calibration.folds import out_of_fold
from guardrail.calibration.metrics import Bools, Estimate, Floats
from guardrail.calibration.points import points_of
from guardrail.calibration.pooling import fit_blocks, fitted_probabilities
from guardrail.calibration.record import PSEUDO_ANSWERS, MetricRecord
from guardrail.types import Score


def curve_fields(s: Floats, c: Bools, metrics: Mapping[str, Estimate]) -> dict[str, Any]:
    """The fields of a `CurveRecord`."""
    return {
        "n": len(c),
        "n_correct": int(c.sum()),
        "pseudo_answers": PSEUDO_ANSWERS,
        "blocks": fit_blocks(s, c),
        "metrics": {k: MetricRecord(value=e.value, low=e.low, high=e.high, n=e.n) for k, e in metrics.items()},
    }


def cross_validated_predictions(
    scores: Sequence[Score | float] | ArrayLike,
    correct: ArrayLike,
    *,
    folds: int = 5,
    seed: int = 0,
    groups: ArrayLike | None = None,
) -> Floats:
    """The probability of each answer, from a fit on the other folds; shape (n,). For metrics off the fitted points.

    Folds are drawn at random with right and wrong answers spread evenly; groups, shape (n,), are never torn apart.
    Raises `CalibrationError` as `fit` does for bad arrays, and when there are fewer right or wrong answers than folds.
    """
    s, c = points_of(scores, correct)
    grouped = None if groups is None else np.asarray(groups)
    return out_of_fold(
        c, lambda train, test: fitted_probabilities(s[train], c[train], s[test]), folds=folds, seed=seed, groups=grouped
    )
