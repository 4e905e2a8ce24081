"""Which answers may be shown so that few of them are wrong: a threshold on p_correct, guaranteed after the search.

Knows nothing about models, files or policies. The promise is about selective risk, the error rate among the questions that
are answered (Geifman and El-Yaniv 2017): with probability `confidence` over the draw of the tuning questions, it is at most
`max_error` for new questions drawn like them.

1. Thresholds are fixed before a tuning question is looked at: they come from the calibrator, which was fitted on others.
   So of the n questions that a threshold answers, the number answered wrongly is binomial, given n, whatever the curve of
   the truth looks like; ties need no care, since a threshold answers all of them or none.
2. A threshold passes at level a when the exact upper bound on its error rate (Clopper and Pearson 1934), right with
   probability 1 - a, is at most max_error.
3. Many thresholds are tested, so the levels come from one budget of 1 - confidence: fixed-sequence testing, strictest
   threshold first, with several starts (Bauer 1991; Angelopoulos et al. 2021, "Learn then Test") that pass on what they have
   (the fallback procedure, Wiens 2003). Each start owns a share of the budget; a threshold that passes hands all that it
   was tested with to the next; one that fails loses it, and the next start goes on with its own share alone. Why that
   holds: let i1 < i2 < ... be the thresholds whose true error rate is above max_error. While none of them has passed, ik is
   tested with no more than the shares after i(k-1) up to its own; these runs of shares do not overlap, so the chance that
   any ik passes is at most their sum, the budget. Nothing is assumed about how tests depend on each other, nor that the
   error rate falls with p_correct.

Several starts, because the strictest sets are small and one unlucky answer in them would end a single sequence. Starting
where the tuning data happen to have enough answers would be simpler and is wrong: which threshold comes first then depends
on the same draw as its errors do.

MAPIE's fixed-sequence procedure (1.4) agrees where there is one start (tests/calibration/test_risk.py). Its controller is not
used: it counts an error too many when n * (1 - precision) rounds up, its several starts do not pass on what they have, and it
keeps no counts, levels or bounds for a proof.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import betaincinv

from guardrail.calibration.bootstrap import tail_of
from guardrail.calibration.metrics import Estimate, checked_probabilities, wilson_interval
from guardrail.calibration.record import Block
from guardrail.errors import CalibrationError

START_COVERAGES = (1 / 16, 1 / 8, 1 / 4, 1 / 2)
"""Where sequences start, as the share of questions answered on the calibration data; of 1 to 6 starts, in a simulation of six
truths with 200 to 1,300 questions, these four lost least in the worst case."""

_STEPS = 100  # thresholds at most: one for each per cent of the calibration answers


@dataclass(frozen=True, slots=True)
class Plan:
    """What is tested in which order, fixed before the tuning data are seen.

    thresholds: on p_correct, from the strictest to the laxest, (m,). shares: of the budget, (m,), above 0 where a sequence
    starts; they sum to 1.
    """

    thresholds: tuple[float, ...]
    shares: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.thresholds) != len(self.shares) or not self.thresholds:
            raise CalibrationError(
                f"{len(self.thresholds)} thresholds with {len(self.shares)} shares; give one share for each threshold"
            )
        if any(a <= b for a, b in zip(self.thresholds, self.thresholds[1:], strict=False)):
            raise CalibrationError("thresholds must fall, from the strictest to the laxest, each given once")
        if min(self.shares) < 0 or not math.isclose(sum(self.shares), 1.0):
            raise CalibrationError(f"the shares of the budget sum to {sum(self.shares):g}; they must sum to 1")


@dataclass(frozen=True, slots=True)
class ThresholdTest:
    """One threshold on the tuning data: n answered, errors among them, and the bound on the error rate at this level.

    level: the part of the budget that it was tested with. bound: the error rate is at most this, with probability
    1 - level. passed: whether bound <= max_error.
    """

    threshold: float
    n: int
    errors: int
    level: float
    bound: float
    passed: bool


@dataclass(frozen=True, slots=True)
class RiskControl:
    """What was found. tests: all that were made, in order. chosen: the laxest that passed; None when none did.

    questions: all that were asked, answered or not.
    """

    max_error: float
    confidence: float
    questions: int
    tests: tuple[ThresholdTest, ...]

    @property
    def chosen(self) -> ThresholdTest | None:
        return next((test for test in reversed(self.tests) if test.passed), None)

    @property
    def best(self) -> ThresholdTest:
        """The test with the lowest bound. Where none passed, its bound holds with `confidence`, although it was picked.

        Then only starts were tested, each with its own share, so all of their bounds hold together.
        """
        return min(self.tests, key=lambda test: test.bound)

    def coverage(self, test: ThresholdTest) -> Estimate:
        """Share of all questions that the threshold answers, with its 95 % Wilson interval."""
        return wilson_interval(test.n, self.questions)


def upper_bound(errors: int, n: int, level: float) -> float:
    """The exact upper bound on an error rate: so few errors among n have probability `level` if the rate is the bound.

        upper_bound(0, 29, 0.05)    # 0.0981: 1 - 0.05 ** (1 / 29)

    One-sided (Clopper and Pearson 1934): below the true rate with probability at most `level`. 1 where all are wrong, and
    where n is 0. Raises `CalibrationError` for counts that are none, and for a level outside 0 to 1.
    """
    if not 0 <= errors <= n:
        raise CalibrationError(f"{errors} errors among {n} answers; it needs 0 <= errors <= n")
    if not 0 < level < 1:
        raise CalibrationError(f"a level lies between 0 and 1, as 0.05 does; got {level}")
    return 1.0 if errors == n else float(betaincinv(errors + 1, n - errors, 1 - level))


def exact_interval(errors: int, n: int, level: float = 0.95) -> Estimate:
    """An error rate with its exact (Clopper-Pearson) two-sided interval, which holds the true rate with probability >= level.

        exact_interval(0, 10)    # 0 (0 to 0.3085)

    Raises `CalibrationError` as `upper_bound` does, and for n = 0.
    """
    if n == 0:
        raise CalibrationError("an error rate needs at least one answer")
    tail = tail_of(level)
    return Estimate(errors / n, 1 - upper_bound(n - errors, n, tail), upper_bound(errors, n, tail), n)


def fewest_answers(max_error: float, level: float) -> int:
    """How many answers, all of them right, it takes to show at this level that at most `max_error` are wrong."""
    return math.ceil(math.log(level) / math.log1p(-max_error))


def plan_from(blocks: Sequence[Block]) -> Plan:
    """The thresholds that answer 1/16, 7 %, 8 %, ... 100 % of the calibration's answers, and starts at `START_COVERAGES`.

    blocks: of a calibrator, which was not fitted on the tuning questions. Thresholds are rounded down to a thousandth.
    Where one answers several per cents at once (a flat part of the curve), it is there once.
    """
    coverage = thresholds_of(blocks, START_COVERAGES[0])
    thresholds = tuple(coverage)
    shares = [0.0] * len(thresholds)
    for start in START_COVERAGES:
        first = next(i for i, t in enumerate(thresholds) if coverage[t] >= start)
        shares[first] += 1 / len(START_COVERAGES)
    return Plan(thresholds, tuple(shares))


def thresholds_of(blocks: Sequence[Block], strictest: float = 0.0) -> dict[float, float]:
    """Thresholds on p_correct, falling, with the share of the calibration's answers or claims that each lets through.

    One for every per cent from `strictest` on, itself included where it is above 0.
    """
    p = np.array([b.p_correct for b in blocks])  # (blocks,), falling
    n = np.array([b.n for b in blocks], dtype=np.float64)
    up_to_median = (np.cumsum(n) - n / 2) / n.sum()  # a block's estimate stands at its median score
    coverage: dict[float, float] = {}
    steps = [k / _STEPS for k in range(1, _STEPS + 1)]
    for answered in (*((strictest,) if strictest else ()), *(s for s in steps if s > strictest)):
        level = float(np.interp(answered, up_to_median, p))
        coverage[math.floor(level * 1000 + 1e-9) / 1000] = answered
    return coverage


def risk_controlled_threshold(
    p_correct: ArrayLike,
    correct: ArrayLike,
    *,
    max_error: float,
    confidence: float,
    plan: Plan,
    questions: int | None = None,
) -> RiskControl:
    """The laxest threshold on p_correct above which, with this confidence, at most `max_error` of the answers are wrong.

        plan = plan_from(calibrator.blocks)
        found = risk_controlled_threshold(p, correct, max_error=0.1, confidence=0.95, plan=plan)
        found.chosen            # None where no threshold reaches it; found.best then says what is reached

    p_correct: (n,), in [0, 1], of the answers that may be shown at all, each to a question of its own that is not one of the
    plan's. correct: (n,), booleans. questions: all that were asked, those included whose answer could not be scored; None: n.

    Raises `CalibrationError` for arrays that are not such, no answers, and numbers outside 0 to 1.
    """
    p, c = checked_probabilities(p_correct, correct)
    asked = len(p) if questions is None else questions
    if asked < len(p):
        raise CalibrationError(f"{len(p)} answers to {asked} questions; count the questions of all answers")
    order = np.argsort(-p, kind="stable")
    wrong = np.concatenate([[0], np.cumsum(~c[order])])
    # (m,), p >= threshold: ties together
    answered = np.searchsorted(-p[order], -np.array(plan.thresholds), side="right")
    counts = [(n, int(wrong[n])) for n in answered.tolist()]
    return risk_of_counts(counts, max_error=max_error, confidence=confidence, plan=plan, questions=asked)


def risk_of_counts(
    counts: Sequence[tuple[int, int]], *, max_error: float, confidence: float, plan: Plan, questions: int
) -> RiskControl:
    """As `risk_controlled_threshold`, of whatever a threshold lets be answered, say by one of two models.

    counts: for each threshold of the plan how many of the questions it answers, and how many of those wrongly, (m,). Given how
    many, the wrong ones are binomial where each question is decided on alone, so the bounds hold for any rule of this kind.

    Raises `CalibrationError` for numbers outside 0 to 1.
    """
    for name, value in (("max_error", max_error), ("confidence", confidence)):
        if not 0 < value < 1:
            raise CalibrationError(f"{name} is {value:g}; it must lie between 0 and 1, ends excluded")
    tests: list[ThresholdTest] = []
    carried = 0.0
    for threshold, share, (n, errors) in zip(plan.thresholds, plan.shares, counts, strict=True):
        level = carried + share * (1 - confidence)
        if level == 0:
            continue
        bound = upper_bound(errors, n, level)
        tests.append(ThresholdTest(threshold, n, errors, level, bound, bound <= max_error))
        carried = level if tests[-1].passed else 0.0
    return RiskControl(max_error, confidence, questions, tuple(tests))
