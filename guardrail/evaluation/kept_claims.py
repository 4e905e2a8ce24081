"""What keeping some of the claims of answers comes to: answers lost, and how many claims are kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from guardrail.calibration.claim_risk import lost_of
from guardrail.calibration.metrics import Bools, Estimate, accuracy, bootstrap_interval
from guardrail.runs.claim_answers import ClaimAnswers


@dataclass(frozen=True, slots=True)
class Kept:
    """What a threshold keeps, over answers. lost: share of answers that keep a wrong claim, with its exact interval.

    retention: share of the claims that is kept; right_retention: of the right ones, None where none is right. Their 95 %
    intervals draw whole answers.
    """

    lost: Estimate
    claims: int
    kept: int
    right: int
    right_kept: int
    retention: Estimate
    right_retention: Estimate | None


def kept_of(kept: Bools, correct: Bools, groups: ArrayLike, *, seed: int = 0) -> Kept:
    """What keeping these claims comes to. kept, correct: (n,). groups: (n,), the answer of each claim."""
    of, right = np.asarray(groups), correct.astype(np.bool_)
    return Kept(
        lost=lost_of(kept, right, of),
        claims=len(kept),
        kept=int(kept.sum()),
        right=int(right.sum()),
        right_kept=int((kept & right).sum()),
        retention=bootstrap_interval(accuracy, kept, seed=seed, groups=of),
        right_retention=bootstrap_interval(accuracy, kept[right], seed=seed, groups=of[right]) if right.any() else None,
    )


def kept_by_kind(kept: Bools, answers: ClaimAnswers, kinds: Sequence[str], *, seed: int = 0) -> dict[str, Kept]:
    """What keeping these claims comes to by kind of question; nothing where fewer than two kinds are named.

    kept: (n,). kinds: of the answers' questions, in the order of the run.
    """
    if len(set(kinds)) < 2:
        return {}
    of = np.array(kinds)[answers.groups]
    return {
        str(kind): kept_of(kept[at], answers.correct[at], answers.groups[at], seed=seed)
        for kind in np.unique(of)
        for at in [of == kind]
    }
