"""Figures whose labels a grader gave, and may have got wrong: how far that can move them. Knows no graders."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np

from guardrail.calibration.metrics import Bools, Floats, auroc, checked_probabilities, ece
from guardrail.errors import CalibrationError


class Bounds(NamedTuple):
    """low <= the figure <= high, whichever labels are wrong."""

    low: float
    high: float


@dataclass(frozen=True, slots=True)
class LabelErrors:
    """What figures would be with true labels, if the grader errs here as it does where people judged its grades.

    Attributes:
        false_right: Share of the wrong answers that the grader calls right.
        false_wrong: Share of the right answers that it calls wrong.
        share: Of all labels here, those that are then wrong.
        accuracy: The share of right answers that follows from the rates.
        auroc: Bounds: the errors lie wherever they help or hurt most.
        auroc_at_random: If each error falls on any answer alike, whatever its score.
        ece: Bounds, as `auroc`.
    """

    false_right: float
    false_wrong: float
    share: float
    accuracy: float
    auroc: Bounds
    auroc_at_random: float
    ece: Bounds

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self) | {name: getattr(self, name)._asdict() for name in ("auroc", "ece")}


def label_errors(
    p_correct: Floats, correct: Bools, false_right: float, false_wrong: float, *, by_hand: float = 0.0
) -> LabelErrors | None:
    """How far wrong labels may move AUROC and ECE.

        label_errors(p, correct, false_right=0.02, false_wrong=0.2).auroc    # Bounds(low=0.68, high=0.86)

    Args:
        p_correct: (n,).
        correct: What the grader says, (n,).
        false_right: Share of the wrong answers that it calls right.
        false_wrong: Share of the right answers that it calls wrong.
        by_hand: Share of the labels that people gave, which are taken as true.

    Returns:
        None where such rates cannot have given these labels: fewer are called right than the errors alone would be, or so many
        that more than all were right.

    Raises:
        CalibrationError: For rates outside [0, 1), labels of one kind, and no probabilities.
    """
    if not (0 <= false_right < 1 and 0 <= false_wrong < 1):
        raise CalibrationError(f"error rates of a grader lie in [0, 1), unlike {false_right} and {false_wrong}")
    p, c = checked_probabilities(p_correct, correct)
    measured, graded, n = auroc(1 - p, c), 1 - by_hand, len(c)
    said = float(c.mean())
    apart = 1 - false_right - false_wrong
    true = (said - false_right) / apart if apart > 0 else -1.0  # Rogan and Gladen 1978
    if not 0 < true < 1:
        return None
    true = said + graded * (true - said)
    of_said_right, of_said_wrong = graded * (1 - true) * false_right, graded * true * false_wrong  # shares of all
    purity = 1 - of_said_right / said - of_said_wrong / (1 - said)
    down, up = round(of_said_right * n), round(of_said_wrong * n)
    moved = (down + up) / n
    value = ece(p, c)
    return LabelErrors(
        false_right=false_right,
        false_wrong=false_wrong,
        share=of_said_right + of_said_wrong,
        accuracy=true,
        auroc=auroc_bounds(1 - p, c, down, up),
        auroc_at_random=min(1.0, max(0.0, 0.5 + (measured - 0.5) / purity)) if purity > 0 else measured,
        ece=Bounds(max(0.0, value - moved), min(1.0, value + moved)),
    )


def auroc_bounds(uncertainty: Floats, correct: Bools, false_right: int, false_wrong: int) -> Bounds:
    """The lowest and the highest AUROC that is left when at most so many of either kind of label are turned round.

    false_right: of the answers called right. false_wrong: of those called wrong. Exact: for given numbers of turned labels
    AUROC follows from the rank sum of the wrong answers (Mann and Whitney 1947), so that the extremes turn the answers with the
    lowest or the highest ranks; all pairs of numbers are tried. Raises `CalibrationError` as `auroc`.
    """
    auroc(uncertainty, correct)
    _, place, size = np.unique(uncertainty, return_inverse=True, return_counts=True)
    rank = (np.cumsum(size) - (size - 1) / 2)[place]  # from 1, of equal ones the mean
    right, wrong = np.sort(rank[correct]), np.sort(rank[~correct])
    # one of either kind has to stay
    down = np.arange(min(false_right, len(right) - 1) + 1)[:, None]
    up = np.arange(min(false_wrong, len(wrong) - 1) + 1)[None]
    n_wrong = len(wrong) + down - up
    n_right = len(right) - down + up

    def ends(ranks: Floats) -> tuple[Floats, Floats]:
        """The sum of the k lowest and of the k highest, k from 0."""
        zero = np.zeros(1)
        return np.concatenate([zero, np.cumsum(ranks)]), np.concatenate([zero, np.cumsum(ranks[::-1])])

    (right_low, right_high), (wrong_low, wrong_high) = ends(right), ends(wrong)

    def area(gained: Floats, lost: Floats) -> Floats:
        total = wrong.sum() + gained[down] - lost[up]
        out: Floats = (total - n_wrong * (n_wrong + 1) / 2) / (n_wrong * n_right)
        return out

    return Bounds(float(area(right_low, wrong_high).min()), float(area(right_high, wrong_low).max()))
