"""Labelled answers of several kinds of conversation -> each kind's curve fitted again from its own, or kept. No files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from guardrail.calibration.contexts import in_words
from guardrail.calibration.curve_fit import context_out_of_fold, cross_validated_predictions, curve_of_others
from guardrail.calibration.isotonic import IsotonicCalibrator
from guardrail.calibration.metrics import Bools, Estimate, Floats, calibration_metrics
from guardrail.calibration.origin import origin_of, through_of
from guardrail.calibration.record import MIN_OF_EACH, MIN_POINTS


@dataclass(frozen=True, slots=True)
class ContextAgain:
    """What became of the curve of one kind of conversation.

    n: Labelled answers of this kind. before, after: as of `Recalibration`, of these alone; empty where the curve is kept.
    """

    name: str
    n: int
    fitted: bool
    before: dict[str, Estimate] = field(default_factory=dict)
    after: dict[str, Estimate] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        figures = {which: {k: asdict(e) for k, e in getattr(self, which).items()} for which in ("before", "after")}
        return {"context": self.name, "n": self.n, "fitted": self.fitted, **figures}

    def in_words(self) -> str:
        """One line for people."""
        of = f"answers with {in_words(self.name)}" if self.name != "plain" else "answers to a plain question"
        if not self.fitted:
            return (
                f"{of}: the old curve is kept, {self.n} labelled are too few ({MIN_POINTS}, {MIN_OF_EACH} right and "
                f"{MIN_OF_EACH} wrong)"
            )
        ece = [
            f"{figures['ece'].value:.3f} {when}" for figures, when in ((self.before, "before"), (self.after, "after"))
        ]
        return f"{of}: fitted again on {self.n}, ECE {', '.join(ece)}"


@dataclass(frozen=True, slots=True, eq=False)
class InContext:
    """Labelled answers of kinds of conversation that have a curve, n of them.

    context: the kind of each. score: on its own curve's scorer, (n,). p_correct: what the old curve said, (n,).
    """

    context: Sequence[str]
    score: Floats
    p_correct: Floats
    correct: Bools


def fit_contexts_again(
    fitted: IsotonicCalibrator, old: IsotonicCalibrator, rows: InContext, *, seed: int = 0
) -> tuple[IsotonicCalibrator, tuple[ContextAgain, ...], Floats]:
    """The curve of each context of `old`, from its own labelled answers: where there are at least 30, 5 right and 5 wrong.

    The curve of a context of a chain is drawn to that of the labelled answers in its other contexts, where they are enough. The
    others are kept as they were: what is known of plain answers says little of answers with passages, whose curve has another
    scorer.

    Args:
        fitted: `old` with its common curve fitted again.
        old: The calibrator that said `rows.p_correct`.
        rows: Of a chain, all answers that the common curve was fitted on.
        seed: Of the folds and the bootstrap.

    Returns:
        The calibrator, what became of each context, and the out-of-fold p_correct of the rows, (n,): the old one's where a
        curve is kept.
    """
    p, told, drawn = rows.p_correct.copy(), [], through_of(origin_of(old)) is not None
    for name, own in old.contexts.items():
        at = np.flatnonzero([context == name for context in rows.context])
        score, correct = rows.score[at], rows.correct[at]
        right = int(correct.sum())
        if len(at) < MIN_POINTS or min(right, len(at) - right) < MIN_OF_EACH or len(np.unique(score)) == 1:
            told.append(ContextAgain(name, len(at), False))
            continue
        p[at] = (
            context_out_of_fold(rows.score, rows.correct, at, seed)
            if drawn
            else cross_validated_predictions(score, correct, seed=seed)
        )
        before, after = (
            calibration_metrics(1 - said, said, correct, seed=seed) for said in (rows.p_correct[at], p[at])
        )
        fitted = fitted.with_context(
            name,
            score,
            correct,
            scorer=own.scorer,
            options=own.profile,
            metrics=after,
            source=own.source,
            towards=curve_of_others(rows.score, rows.correct, at) if drawn else None,
        )
        told.append(ContextAgain(name, len(at), True, before, after))
    return fitted, tuple(told), p
