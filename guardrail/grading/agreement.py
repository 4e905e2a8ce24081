"""Two graders against each other, and a grader against people: agreement, kappa, error rates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from guardrail.calibration.metrics import Estimate, wilson_interval
from guardrail.errors import DataError
from guardrail.grading.protocol import Grade


@dataclass(frozen=True, slots=True)
class Agreement:
    """What two graders say of the same n answers; answers that one of them leaves ungraded are counted apart.

    agree: share on which they say the same, Wilson interval. kappa: as `kappa_of`; None where it is undefined.
    """

    first: str
    second: str
    n: int
    both_right: int
    both_wrong: int
    only_first: int
    only_second: int
    ungraded: int
    agree: Estimate
    kappa: Estimate | None

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Rates:
    """How a grader errs, measured on answers that people judged, each rate with its Wilson interval.

    false_right: share of the wrong answers that it calls right. false_wrong: share of the right answers that it calls wrong.
    None where there is no such answer. Ungraded ones are in neither. kappa: with the people.
    """

    grader: str
    right: int
    wrong: int
    ungraded: int
    false_right: Estimate | None
    false_wrong: Estimate | None
    kappa: Estimate | None

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)


def agreement(first: str, a: Sequence[Grade], second: str, b: Sequence[Grade]) -> Agreement:
    """Two graders, by their names and their grades of the same answers.

    Raises `DataError` when there is no answer that both grade.
    """
    pairs = [(x, y) for x, y in zip(a, b, strict=True) if x is not None and y is not None]
    if not pairs:
        raise DataError(f"there is no answer that both {first} and {second} grade")
    same = sum(x == y for x, y in pairs)
    return Agreement(
        first=first,
        second=second,
        n=len(pairs),
        both_right=pairs.count((True, True)),
        both_wrong=pairs.count((False, False)),
        only_first=pairs.count((True, False)),
        only_second=pairs.count((False, True)),
        ungraded=len(a) - len(pairs),
        agree=wilson_interval(same, len(pairs)),
        kappa=kappa_of(pairs),
    )


def rates(grader: str, grades: Sequence[Grade], correct: Sequence[bool]) -> Rates:
    """A grader against what people say of the same answers."""
    pairs = [(grade, truth) for grade, truth in zip(grades, correct, strict=True) if grade is not None]
    right, wrong = sum(truth for _, truth in pairs), sum(not truth for _, truth in pairs)
    return Rates(
        grader=grader,
        right=right,
        wrong=wrong,
        ungraded=len(grades) - len(pairs),
        false_right=wilson_interval(pairs.count((True, False)), wrong) if wrong else None,
        false_wrong=wilson_interval(pairs.count((False, True)), right) if right else None,
        kappa=kappa_of(pairs) if pairs else None,
    )


def kappa_of(pairs: Sequence[tuple[Grade, Grade]]) -> Estimate | None:
    """Cohen's kappa (1960), agreement beyond chance: (p - e) / (1 - e), with p the share of equal pairs and e the share that
    graders with the same shares of "right" would agree on by chance. 1: always; 0: as by chance.

    Its 95 % interval is Wilson's for p with e held fixed, as in Cohen's own standard error: it has width at p = 1 too. None
    where both say the same of every answer, so that there is nothing beyond chance.
    """
    n = len(pairs)
    first, second = (sum(pair[i] is True for pair in pairs) / n for i in (0, 1))
    chance = first * second + (1 - first) * (1 - second)
    if chance == 1:
        return None
    agree = wilson_interval(sum(a == b for a, b in pairs), n)
    value, low, high = (max(-1.0, (p - chance) / (1 - chance)) for p in (agree.value, agree.low, agree.high))
    return Estimate(value, low, high, n)
