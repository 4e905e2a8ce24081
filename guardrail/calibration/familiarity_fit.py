"""The states of a calibration's questions -> `Familiarity`: compressed, with what accuracy is on kinds that were left out."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.cluster.vq import kmeans2

from guardrail.array_text import array_text
from guardrail.calibration.familiarity import Familiarity, Projection, likeness
from guardrail.calibration.metrics import Bools, Floats
from guardrail.calibration.pooling import fitted_probabilities
from guardrail.errors import CalibrationError

LEAST = 20
"""Questions; of fewer, none could be told to be unlike them at 5 %."""

_DIRECTIONS, _POINTS, _FOLDS = 64, 2000, 10
_QUESTIONS_A_DIRECTION = 4
_REST = (
    0.5  # what lies outside of the directions counts as half of what lies along them, on the calibration's questions
)
_CLUSTERS, _LEAST_OF_A_KIND = 8, 10


@dataclass(frozen=True, slots=True)
class Familiar:
    """What a calibration's questions are like, before it is known how sure their answers were.

    Attributes:
        states: The hidden states that enter layer `layer` at the last token of each question's prompt, (questions, D).
        layer: Which layer, from 0.
        of: Which question each score is about, (n,).
        kinds: What kind each question is of, (questions,); empty where that is not known.
    """

    states: Floats
    layer: int
    of: Sequence[int]
    kinds: Sequence[str] = ()

    @property
    def few(self) -> dict[str, int]:
        """Kinds that are known, with fewer scores than it takes to leave them out, and how many they have."""
        if not len(self.kinds):
            return {}
        found = Counter(self.kinds[i] for i in self.of)
        return {kind: n for kind, n in sorted(found.items()) if kind and n < _LEAST_OF_A_KIND}


def fit_familiarity(known: Familiar, scores: ArrayLike, correct: ArrayLike, *, seed: int = 0) -> Familiarity:
    """Compress the states, and measure how far accuracy falls on kinds of questions that a curve was not fitted on.

    Args:
        known: The questions.
        scores: Of their answers, (n,), higher = less sure.
        correct: Whether these are right, (n,).
        seed: Of the questions that are kept where there are many, and of the clusters where no kinds are known.

    Raises:
        CalibrationError: For states that are not (questions, D) finite numbers of at least `LEAST` questions.
    """
    states = np.asarray(known.states, dtype=np.float64)
    if states.ndim != 2 or len(states) < LEAST or not np.isfinite(states).all():
        raise CalibrationError(f"states of shape {states.shape}; (n, D) finite numbers are needed, n from {LEAST}")
    project = _projection(states)
    rows, squares = project(states)
    kinds: Any = np.asarray(known.kinds) if len(set(known.kinds)) > 1 else _clusters(rows, seed)
    retained, lowest = retention(
        np.asarray(scores, dtype=np.float64), np.asarray(correct, dtype=np.bool_), kinds[list(known.of)]
    )
    step = max(float(np.abs(rows).max()), 1e-9) / 127
    kept = np.sort(np.random.default_rng(seed).permutation(len(rows))[:_POINTS])
    return Familiarity(
        layer=known.layer,
        mean=array_text(project.mean, "<f4"),
        directions=array_text(project.directions, "<f2"),
        spread=array_text(project.spread, "<f4"),
        rest=project.rest,
        points=array_text(np.rint(rows[kept] / step), "i1"),
        step=step,
        lengths=array_text(squares[kept], "<f4"),
        own=array_text(np.sort(_likeness_to_the_others(states, seed)), "<f4"),
        retained=retained,
        lowest=lowest,
    )


def _projection(states: Floats) -> Projection:
    mean: Floats = states.mean(0)
    centred = states - mean
    most = min(_DIRECTIONS, max(1, len(states) // _QUESTIONS_A_DIRECTION), states.shape[1])
    _, sizes, axes = np.linalg.svd(centred, full_matrices=False)
    count = max(1, int((sizes[:most] > sizes[0] * 1e-5).sum()))  # equal questions span less
    spread: Floats = np.maximum(sizes[:count], 1e-6) / math.sqrt(len(states))
    outside = float((sizes[count:] ** 2).sum()) / len(states)
    rest = _REST * count / outside if outside > 1e-9 else 0.0
    return Projection(mean, axes[:count].T, spread, rest)


def _likeness_to_the_others(states: Floats, seed: int) -> Floats:
    """Of each question to those of the other folds, by a projection that was fitted on these: (n,)."""
    out: Floats = np.empty(len(states))
    fold = np.random.default_rng(seed).permutation(len(states)) % _FOLDS
    for each in range(_FOLDS):
        inside, others = fold == each, states[fold != each]
        project = _projection(others)
        out[inside] = likeness(project(states[inside]), project(others))
    return out


def retention(scores: Floats, correct: Bools, kinds: Any) -> tuple[float | None, float | None]:
    """How much of what a curve says is true of a kind of question that it was not fitted on: the mean, and the worst.

    scores, correct, kinds: (n,). Each kind with enough answers is left out in turn. None where there is none to leave out.
    """
    found: list[tuple[int, float]] = []
    for kind in np.unique(kinds):
        out = kinds == kind
        rest = correct[~out]
        if out.sum() < _LEAST_OF_A_KIND or not rest.any() or rest.all():
            continue
        said = float(fitted_probabilities(scores[~out], rest, scores[out]).sum())
        found.append((int(out.sum()), min(1.0, float(correct[out].sum()) / said)))
    if not found:
        return None, None
    mean = math.fsum(n * share for n, share in found) / sum(n for n, _ in found)
    return mean, min(mean, min(share for _, share in found))


def _clusters(rows: Floats, seed: int) -> Any:
    count = min(_CLUSTERS, len(rows) // (2 * _LEAST_OF_A_KIND))
    if count < 2:
        return np.zeros(len(rows), dtype=np.intp)
    return kmeans2(rows, count, seed=seed, minit="++")[1]
