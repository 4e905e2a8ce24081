"""Which claims may be kept so that few answers keep a wrong one: a threshold on the claims' p_correct, with a guarantee.

Knows nothing about models, files or policies. An answer is lost where a claim of it is kept that is wrong. Keeping fewer
claims never loses an answer, so the share of lost answers falls as the threshold rises; an answer of which nothing is kept is
not lost.

Two promises, for new answers drawn like those that the threshold was found on:

- **With a confidence.** With probability `confidence` over the draw of these, at most 1 - all_right of new answers are lost.
  Thresholds are fixed before an answer is looked at, and tested from the strictest down, each at the full level of
  1 - confidence, by the exact binomial bound (Clopper and Pearson 1934), until one fails: fixed-sequence testing (Bauer 1991;
  Angelopoulos et al. 2021, "Learn then Test"). The first of them that loses too many would have to pass, and it passes with
  probability 1 - confidence at most. Every answer counts at every threshold, so several starts (guardrail.calibration.risk)
  would only divide the budget.
- **On average** (confidence None). Over the draw of these and of one new answer, that is lost with probability 1 - all_right at
  most: split conformal factuality (Mohri and Hashimoto 2024, arXiv 2402.10978). Their score of an answer is the smallest
  threshold at which it is not lost, and the threshold the ceil((n + 1) * all_right)-th smallest of these; which is the laxest
  at which (lost + 1) / (n + 1) is at most 1 - all_right, and so it is found here (conformal risk control, Angelopoulos et al.
  2022). The true rate at that threshold lies above 1 - all_right about every second time: that is what an average is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray

from guardrail.calibration.metrics import Bools, Estimate, Floats, checked_probabilities
from guardrail.calibration.risk import exact_interval, upper_bound
from guardrail.errors import CalibrationError


@dataclass(frozen=True, slots=True)
class ClaimTest:
    """One threshold on the answers: claims kept by it, n answers, and those among them that keep a wrong claim.

    bound: on the share of such answers, with the confidence asked for, or on average. passed: whether it is at most
    1 - all_right.
    """

    threshold: float
    kept: int
    n: int
    errors: int
    bound: float
    passed: bool


@dataclass(frozen=True, slots=True)
class ClaimControl:
    """What was found. tests: all that were made, in order, up to the first that failed. confidence: None: on average.

    chosen: the laxest that passed, None where it keeps no claim or none passed.
    """

    all_right: float
    confidence: float | None
    tests: tuple[ClaimTest, ...]

    @property
    def chosen(self) -> ClaimTest | None:
        passed = [test for test in self.tests if test.passed]
        return passed[-1] if passed and passed[-1].kept else None

    @property
    def best(self) -> ClaimTest:
        """The strictest that keeps a claim, the best that is shown where none passed; the last where none keeps any."""
        return next((test for test in self.tests if test.kept), self.tests[-1])


def conformal_bound(errors: int, n: int) -> float:
    """The probability that a new answer is lost is at most this at a threshold that was chosen for being at most so much.

    conformal_bound(4, 49)    # 0.1
    """
    return (errors + 1) / (n + 1)


def claim_risk_threshold(
    p_correct: ArrayLike,
    correct: ArrayLike,
    answer: ArrayLike,
    *,
    answers: int,
    all_right: float,
    confidence: float | None,
    thresholds: Sequence[float],
) -> ClaimControl:
    """The laxest threshold on claims at which at least `all_right` of the answers keep no wrong claim.

        found = claim_risk_threshold(p, correct, answer, answers=400, all_right=0.9, confidence=0.95, thresholds=(0.8, 0.7))
        found.chosen            # None where no threshold reaches it

    Args:
        p_correct: Of the claims that may be kept at all, (n,), in [0, 1].
        correct: (n,), booleans.
        answer: Which answer each claim is of, (n,), any numbers.
        answers: How many answers there are, with those of which no claim may be kept.
        all_right: The share of answers that shall keep no wrong claim.
        confidence: Probability that the promise holds; None promises an average.
        thresholds: From the strictest to the laxest, fixed before these answers were seen.

    Raises:
        CalibrationError: For arrays that are not such, no claims, and numbers outside 0 to 1.
    """
    for name, value in (("all_right", all_right), ("confidence", confidence)):
        if value is not None and not 0 < value < 1:
            raise CalibrationError(f"{name} is {value:g}; it must lie between 0 and 1, ends excluded")
    if not thresholds or any(a <= b for a, b in pairwise(thresholds)):
        raise CalibrationError("thresholds must fall, from the strictest to the laxest, each given once")
    p, c = checked_probabilities(p_correct, correct)
    worst = worst_of(p, c, answer)
    if answers < len(np.unique(np.asarray(answer))):
        raise CalibrationError(f"the claims are of more than {answers} answers; count all answers")
    falling = np.sort(-worst)
    lost = np.searchsorted(falling, -np.array(thresholds), side="right")  # (m,), worst >= threshold
    kept = np.searchsorted(np.sort(-p), -np.array(thresholds), side="right")
    tests: list[ClaimTest] = []
    for threshold, errors, claims in zip(thresholds, lost.tolist(), kept.tolist(), strict=True):
        bound = conformal_bound(errors, answers) if confidence is None else upper_bound(errors, answers, 1 - confidence)
        tests.append(ClaimTest(threshold, claims, answers, errors, bound, bound <= 1 - all_right + _ROUNDING))
        if not tests[-1].passed:
            break
    return ClaimControl(all_right, confidence, tuple(tests))


def worst_of(p_correct: Floats, correct: Bools, answer: ArrayLike) -> Floats:
    """The p_correct of each answer's surest wrong claim, of the answers that have one: any threshold above it loses none."""
    of: NDArray[np.intp]
    _, of = np.unique(np.asarray(answer)[~correct], return_inverse=True)
    worst = np.zeros(int(of.max()) + 1 if len(of) else 0)
    np.maximum.at(worst, of, p_correct[~correct])
    return worst


def lost_of(kept: Bools, correct: Bools, groups: ArrayLike) -> Estimate:
    """Share of the answers that keep a wrong claim, with its exact interval. kept, correct, groups: of each claim, (n,)."""
    of = np.asarray(groups)
    return exact_interval(len(np.unique(of[kept & ~correct])), len(np.unique(of)))


_ROUNDING = 1e-12  # 1 - 0.9 is a little less than 0.1
