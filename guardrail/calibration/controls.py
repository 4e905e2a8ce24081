"""What a reader of the texts alone would tell of answers: the control that a score of the model's uncertainty has to beat.

A score may owe its AUROC to the topic: a model is right about capitals and wrong about years, and who knows the question knows
that. So the same questions and answers are read by a regression that sees no number of the model, cross-validated over the same
folds as the score, and the two are compared on the same resamples (arXiv 2605.17028). Knows nothing about embeddings.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np

from guardrail.calibration.folds import Groups, out_of_fold
from guardrail.calibration.linear import fit_linear
from guardrail.calibration.metrics import Bools, Estimate, Floats, auroc, bootstrap_difference, bootstrap_interval
from guardrail.calibration.profiles import FOLDS

_COSINE = (
    2.0  # what a cosine of two texts weighs against their unit vectors: about as much as the first direction of these
)


@dataclass(frozen=True, slots=True)
class Control:
    """What is told from texts alone. auroc: cross-validated. difference: the score's AUROC minus it, paired."""

    auroc: Estimate
    difference: Estimate


@dataclass(frozen=True, slots=True)
class Controls:
    """A score against readers of the texts alone, on the same answers or claims.

    Attributes:
        text: Reads question and answer, and passages where there are some.
        question: Reads the question alone, before anything is answered.
        embedding: What makes vectors of texts.
    """

    text: Control
    question: Control
    embedding: str

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)


class Read(NamedTuple):
    """What readers of the texts alone make of each answer, (n,) each: the probability that it is wrong, cross-validated.

    text: of question and answer, and passages where there are some. question: of the question alone.
    """

    text: Floats
    question: Floats


def measure_controls(
    texts: Sequence[Floats],
    uncertainty: Floats,
    correct: Bools,
    *,
    embedding: str,
    seed: int = 0,
    groups: Groups | None = None,
) -> Controls:
    """Fit both controls and compare the score with them.

    Args:
        texts: Unit vectors of the questions, the answers, and whatever else was read, (n, D) each.
        uncertainty: The score or 1 - p_correct, (n,), higher = less sure.
        correct: (n,).
        embedding: The name of what made the vectors.
        seed: Of the folds and the bootstrap.
        groups: What is never in two folds, (n,), and is drawn whole.

    Raises:
        CalibrationError: For fewer than two right or two wrong ones, or too few groups of them.
    """

    def control(uncertain: Floats) -> Control:
        told = (uncertain, correct)
        return Control(
            bootstrap_interval(auroc, *told, seed=seed, groups=groups),
            bootstrap_difference(auroc, (uncertainty, correct), told, seed=seed, groups=groups),
        )

    read = read_texts(texts, correct, seed=seed, groups=groups)
    return Controls(control(read.text), control(read.question), embedding)


def read_texts(texts: Sequence[Floats], correct: Bools, *, seed: int = 0, groups: Groups | None = None) -> Read:
    """Fit both readers. Arguments and errors as of `measure_controls`."""
    folds = max(2, min(FOLDS, int(correct.sum()), int((~correct).sum())))

    def uncertain(vectors: Floats) -> Floats:
        return 1 - out_of_fold(
            correct,
            lambda train, test: fit_linear(vectors[train], correct[train]).p_correct(vectors[test]),
            folds=folds,
            seed=seed,
            groups=groups,
        )

    cosines = [_COSINE * (a * b).sum(1, keepdims=True) for a, b in combinations(texts, 2)]
    return Read(uncertain(np.hstack([*texts, *cosines])), uncertain(texts[0]))
