"""Points -> the record of an isotonic curve, and what it would have said of points that it has not seen."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import brentq
from scipy.special import expit, logit

from guardrail.calibration.folds import out_of_fold
from guardrail.calibration.metrics import Bools, Estimate, Floats
from guardrail.calibration.points import points_of
from guardrail.calibration.pooling import Curve, fit_blocks, fitted_probabilities
from guardrail.calibration.profiles import FOLDS
from guardrail.calibration.record import (
    CONTEXT_PSEUDO_ANSWERS,
    MIN_OF_EACH,
    MIN_POINTS,
    PSEUDO_ANSWERS,
    MetricRecord,
    shrunk,
)
from guardrail.types import Score

_FARTHEST = 50.0  # on the logit scale, beyond every two probabilities of a curve


def curve_fields(s: Floats, c: Bools, metrics: Mapping[str, Estimate]) -> dict[str, Any]:
    """The fields of a `CurveRecord`."""
    return {
        "n": len(c),
        "n_correct": int(c.sum()),
        "pseudo_answers": PSEUDO_ANSWERS,
        "blocks": fit_blocks(s, c),
        "metrics": {k: MetricRecord(value=e.value, low=e.low, high=e.high, n=e.n) for k, e in metrics.items()},
    }


def curve_of_others(scores: Floats, correct: Bools, at: np.ndarray) -> Curve | None:
    """What the curve of a context is drawn to: the curve of the answers that were not given in it.

    scores, correct: of all answers, (n,), on one scorer. at: which of them were given in the context; a curve that had seen
    these would draw the context's to its own accidents. None where fewer than 30 are left, or 5 right or 5 wrong ones.
    """
    others = np.setdiff1d(np.arange(len(correct)), at)
    right = int(correct[others].sum())
    if len(others) < MIN_POINTS or min(right, len(others) - right) < MIN_OF_EACH:
        return None
    return Curve.through(fit_blocks(scores[others], correct[others]))


def context_fields(s: Floats, c: Bools, metrics: Mapping[str, Estimate], common: Curve) -> dict[str, Any]:
    """The fields of a `ContextRecord` that is drawn to a common curve: most where a context has few answers.

    1. Each answer gets the probability of the common curve, moved on the logit scale by one number for all, so that their mean
       is the context's share of right answers with ten more answers at the mean of the common curve: (k + 10 m) / (n + 10).
    2. A block of k right among n becomes (k + 10 t) / (n + 10), t the mean of these in it.

    The first step takes up most of what tells contexts apart, their level, from few answers; the second leaves the slope to the
    data. common: of `curve_of_others`. In a simulation (contexts that differ from the common
    curve by normal steps of 0.3, 0.7 and 1.5 in level on the logit scale, n = 30 to 400) ten pseudo-answers had less excess log
    loss than a curve of the context alone but for the largest steps with 150 answers and more, and less than the common curve.
    """
    towards = drawn(s, c, common)
    blocks = fit_blocks(s, c, towards, CONTEXT_PSEUDO_ANSWERS)
    ends = np.cumsum([block.n for block in blocks])[:-1]
    parts = np.split(towards[np.argsort(s, kind="stable")], ends)
    fields = curve_fields(s, c, metrics)
    return fields | {
        "pseudo_answers": CONTEXT_PSEUDO_ANSWERS,
        "blocks": blocks,
        "towards": tuple(float(part.mean()) for part in parts),
    }


def drawn(s: Floats, c: Bools, common: Curve) -> Floats:
    """What each answer of a context is drawn to, (n,): step 1 of `context_fields`."""
    p = common.at(s)[0]
    wanted = shrunk(len(c), int(c.sum()), float(p.mean()), CONTEXT_PSEUDO_ANSWERS)
    logits = logit(p)
    step = brentq(lambda step: float(expit(logits + step).mean()) - wanted, -_FARTHEST, _FARTHEST)
    out: Floats = expit(logits + step)
    return out


def context_probabilities(s: Floats, c: Bools, common: Curve, at: Floats) -> Floats:
    """The curve of `context_fields`, fitted to `s` and `c`, (n,) each, at the scores `at`, (m,): probabilities, (m,)."""
    out: Floats = Curve.through(fit_blocks(s, c, drawn(s, c, common), CONTEXT_PSEUDO_ANSWERS)).at(at)[0]
    return out


def context_out_of_fold(uncertain: Floats, correct: Bools, at: np.ndarray, seed: int) -> Floats:
    """p_correct of the answers `at`, each from a curve of their context that has not seen it, (len(at),).

    uncertain, correct, at: as of `curve_of_others`.
    """
    common, s, c = curve_of_others(uncertain, correct, at), uncertain[at], correct[at]

    def predicted(train: np.ndarray, test: np.ndarray) -> Floats:
        if common is None:
            return fitted_probabilities(s[train], c[train], s[test])
        return context_probabilities(s[train], c[train], common, s[test])

    return out_of_fold(c, predicted, folds=FOLDS, seed=seed)


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
