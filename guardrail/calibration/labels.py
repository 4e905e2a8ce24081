"""A probability of being right -> one of five words."""

from __future__ import annotations

from bisect import bisect_right

from guardrail.errors import CalibrationError
from guardrail.types import LABELS, Label

_EDGES = (0.2, 0.4, 0.6, 0.8)


def label_for(p_correct: float) -> Label:
    """The label of a probability: five bins of width 0.2; an edge belongs to the bin above it, 1.0 is very high.

    Raises `CalibrationError` for NaN and for anything outside [0, 1].
    """
    if not 0.0 <= p_correct <= 1.0:  # False for NaN too
        raise CalibrationError(f"{p_correct!r} is not a probability; a label needs a number in [0, 1]")
    return LABELS[bisect_right(_EDGES, p_correct)]


def label_bounds(label: Label) -> tuple[float, float]:
    """The lowest probability of a label, and the one where the next label begins (1.0, included, for very high)."""
    if label not in LABELS:
        raise CalibrationError(f"no label {label!r}; the labels are {', '.join(LABELS)}")
    i = LABELS.index(label)
    edges = (0.0, *_EDGES, 1.0)
    return edges[i], edges[i + 1]
