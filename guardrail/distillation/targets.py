"""Candidates -> what the model is to state of each: shares made probabilities, probabilities made labels; the second stage."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from itertools import groupby
from typing import Any, Literal

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import expit, logit

from guardrail.calibration.metrics import Bools, Floats, auroc
from guardrail.calibration.pooling import fitted_probabilities
from guardrail.distillation.candidates import Candidate
from guardrail.errors import DataError
from guardrail.stated import Wording

Map = Literal["isotonic", "temperature", "none"]
"""How a share becomes a probability of being right."""

ECE_BINS = 30
_DRAWS = 200


@dataclass(frozen=True, slots=True)
class Target:
    """An answer, and what the model is to state of it: the bin, from 0, of the probability that the teacher gives it.

    thought: as a `Candidate` has it.
    """

    question: str
    answer: str
    bin: int
    right: bool
    probability: float
    thought: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Teaching:
    """What the targets are made from, for whoever judges the adapter.

    questions, answers, right: how many. map: what was applied to the shares. ece: of the shares, in 30 bins. auroc: of the
    shares, within these answers. bins: targets of each bin.
    """

    questions: int
    answers: int
    right: int
    map: Map
    ece: float | None
    auroc: float | None
    bins: tuple[int, ...]

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def share_ece(shares: Floats, right: Bools, bins: int = ECE_BINS) -> float:
    """Expected calibration error of shares in [0, 1], in equal bins: sum_b n_b / n |mean share - share right|.

    share_ece([0.9, 0.9], [True, False])   # 0.4
    """
    shares, right = np.asarray(shares, dtype=np.float64), np.asarray(right, dtype=np.bool_)
    at = np.minimum((shares * bins).astype(np.intp), bins - 1)
    n = np.bincount(at, minlength=bins)
    gap = np.bincount(at, shares, bins) - np.bincount(at, right, bins)
    return float(np.abs(gap[n > 0]).sum() / len(shares))


def is_miscalibrated(shares: Floats, right: Bools, *, seed: int = 0) -> bool:
    """Whether the ECE of the shares is larger than that of 95 % of draws in which each share is the probability of being right.

    The paper calibrates where the ECE is large, and sees no gain at 0.026; among few answers a perfect share has a larger one.
    """
    rng = np.random.default_rng(seed)
    chance = [share_ece(shares, rng.uniform(size=len(shares)) < shares) for _ in range(_DRAWS)]
    return share_ece(shares, right) > float(np.quantile(chance, 0.95))


def probabilities(shares: Floats, right: Bools, chosen: Map) -> Floats:
    """Shares -> probabilities of being right, fitted on these very answers: a curve of one number overfits little.

    temperature: sigmoid(logit(share) / T) with the T of least log loss; shares of 0 and 1 count as half a sample of 1,000.
    """
    if chosen == "none":
        return shares
    if chosen == "isotonic":
        return fitted_probabilities(-shares, right, -shares)
    x = logit(np.clip(shares, 5e-4, 1 - 5e-4))

    def loss(log_t: float) -> float:
        z = x / np.exp(log_t)
        return float(np.logaddexp(0.0, np.where(right, -z, z)).mean())

    found = minimize_scalar(loss, bounds=(-5.0, 5.0), method="bounded")
    return np.asarray(expit(x / np.exp(found.x)), dtype=np.float64)


def targets_of(
    candidates: Sequence[Candidate],
    wording: Wording,
    *,
    chosen: Map | None = None,
    wrong_per_question: int | None = 1,
) -> tuple[list[Target], Teaching]:
    """What the model is to state.

    Args:
        candidates: All of them: the map is fitted before the filter.
        wording: Its labels say how many bins there are.
        chosen: None calibrates the shares (isotonic) only where `is_miscalibrated` says so.
        wrong_per_question: Keep at most so many wrong answers a question, the surest first; None keeps all.

    Raises:
        DataError: The candidates have no shares.
    """
    if any(c.share is None for c in candidates):
        raise DataError("the answers come without a confidence of a teacher's: there is nothing to state")
    shares = np.array([c.share for c in candidates], dtype=np.float64)
    right = np.array([c.right for c in candidates], dtype=np.bool_)
    error = share_ece(shares, right)
    applied = chosen or ("isotonic" if is_miscalibrated(shares, right) else "none")
    p = probabilities(shares, right, applied)
    told = [replace(c, share=float(value)) for c, value in zip(candidates, p, strict=True)]
    kept = [c for _, own in groupby(told, key=lambda c: c.question) for c in _filtered(list(own), wrong_per_question)]
    targets = [
        Target(c.question, c.answer, wording.bin_of(c.share or 0.0), c.right, c.share or 0.0, c.thought) for c in kept
    ]
    counts = np.bincount([t.bin for t in targets], minlength=len(wording.labels))
    told_apart = auroc(-shares, right) if 0 < right.sum() < len(right) else None
    return targets, Teaching(
        questions=len({t.question for t in targets}),
        answers=len(targets),
        right=sum(t.right for t in targets),
        map=applied,
        ece=error,
        auroc=told_apart,
        bins=tuple(counts.tolist()),
    )


def only_graded(candidates: Sequence[Candidate], wording: Wording) -> Teaching:
    """What is taught without a teacher: right and wrong, and no labels."""
    n, right = len(candidates), sum(c.right for c in candidates)
    questions = len({c.question for c in candidates})
    return Teaching(questions, n, right, "none", None, None, (0,) * len(wording.labels))


def self_evaluations(candidates: Sequence[Candidate], wording: Wording) -> tuple[list[Target], Teaching]:
    """For `epicar`: the highest label behind every right answer, the lowest behind every wrong one (EpiCaR, arXiv 2601.06786,
    where they are yes and no)."""
    last = len(wording.labels) - 1
    targets = [
        Target(c.question, c.answer, last if c.right else 0, c.right, float(c.right), c.thought) for c in candidates
    ]
    graded = only_graded(candidates, wording)
    return targets, replace(graded, bins=(graded.answers - graded.right, *(0,) * (last - 1), graded.right))


def _filtered(own: list[Candidate], wrong: int | None) -> list[Candidate]:
    if wrong is None:
        return own
    surest = sorted((c for c in own if not c.right), key=lambda c: c.share or 0.0, reverse=True)[:wrong]
    return [c for c in own if c.right or c in surest]


def in_words(teaching: Teaching, wording: Wording) -> str:
    """What is taught, in a line."""
    head = f"{teaching.answers} answers to {teaching.questions} questions, {teaching.right} right"
    if teaching.ece is None:
        return head
    told = ", ".join(f"{label} {n}" for label, n in zip(wording.labels, teaching.bins, strict=True))
    how = {
        "none": f"taken as they are (ECE {teaching.ece:.3f})",
        "isotonic": f"calibrated by isotonic regression (ECE before {teaching.ece:.3f})",
        "temperature": f"calibrated by temperature (ECE before {teaching.ece:.3f})",
    }
    return f"{head}; their confidences {how[teaching.map]}; labels: {told}"
