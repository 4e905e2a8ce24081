"""The labelled rows of a tallied log -> the scores to fit a curve on, of one model, and what is left out. No files."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np

from guardrail.calibration.folds import Groups
from guardrail.calibration.metrics import Bools, Floats
from guardrail.calibration.origin import through_of
from guardrail.calibration.provenance import Provenance, Unit
from guardrail.calibration.record import MIN_OF_EACH, MIN_POINTS
from guardrail.errors import CalibrationError, DataError
from guardrail.evaluation.recalibrate_contexts import InContext
from guardrail.monitoring.tally import Tally


@dataclass(frozen=True, slots=True, eq=False)
class Labelled:
    """Rows to fit: score and old p_correct, (n,); the label, (n,); for claims which answer each comes from, (n,)."""

    score: Floats
    p_correct: Floats
    correct: Bools
    groups: Groups | None


def rows_of(tally: Tally, origin: Provenance) -> tuple[Labelled, InContext]:
    """The labelled rows that the common curve is fitted on, and those that were read on a curve of their own.

    The former are those that have a score without evidence, of one model; of a chain's calibrator, the latter. All others are
    counted as set aside. The same weights go by several names, so one other name than the calibrator's is taken for them.
    Raises `DataError` for answers of several models.
    """
    unit, kept, own = tally.reference.unit, tally.labelled, tally.in_contexts
    scored = ~np.isnan(np.array(kept.score, dtype=np.float64))
    models = [*own.model, *(model for model, there in zip(kept.model, scored, strict=True) if there)]
    wanted = _one_model(models, origin)
    of_model = np.array([model == wanted for model in own.model], dtype=np.bool_)
    contexts = InContext(
        context=[context for context, mine in zip(own.context, of_model, strict=True) if mine],
        score=np.array(own.score, dtype=np.float64)[of_model],
        p_correct=np.array(own.p_correct, dtype=np.float64)[of_model],
        correct=np.array(own.correct, dtype=np.bool_)[of_model],
    )
    if through_of(origin) is not None:
        _set_aside(tally, unit, len(kept.score) - len(own.model), int((~of_model).sum()), len(kept.score))
        return Labelled(contexts.score, contexts.p_correct, contexts.correct, None), contexts
    chosen = scored & np.array([model == wanted for model in kept.model], dtype=np.bool_)
    elsewhere = int((~scored).sum()) - len(own.model)
    of_others = int((scored & ~chosen).sum() + (~of_model).sum())
    _set_aside(tally, unit, elsewhere, of_others, int(scored.sum()) + len(own.model))
    return Labelled(
        score=np.array(kept.score, dtype=np.float64)[chosen],
        p_correct=np.array(kept.p_correct, dtype=np.float64)[chosen],
        correct=np.array(kept.correct, dtype=np.bool_)[chosen],
        groups=np.array(kept.answer)[chosen] if unit == "claim" else None,
    ), contexts


def _one_model(models: list[str], origin: Provenance) -> str | None:
    names = Counter(models)
    if len(names) > 1 and origin.model.name not in names:
        told = ", ".join(f"{name} {n}" for name, n in names.most_common())
        raise DataError(
            f"the labelled answers come from several models ({told}), none of them {origin.model.name!r}, which the calibrator "
            "was fitted on; give the lines of one model"
        )
    return origin.model.name if origin.model.name in names else next(iter(names), None)


def _set_aside(tally: Tally, unit: Unit, elsewhere: int, of_others: int, labelled: int) -> None:
    for reason, n in (
        (f"labelled {unit}s given with evidence or without a score", elsewhere),
        (f"labelled {unit}s of another model", of_others),
        ("without a label", tally.scored - labelled),
    ):
        if n > 0:
            tally.set_aside[reason] += n


def refuse_too_few(correct: Bools, unit: Unit, tally: Tally) -> None:
    """Raise `CalibrationError` for fewer than a curve needs; it says what was left out."""
    n, right = len(correct), int(correct.sum())
    out = ", ".join(f"{count} {reason}" for reason, count in tally.set_aside.items())
    left_out = f" (not counted: {out})" if out else ""
    asked_otherwise = "; or take those that were asked otherwise too: --with-extrapolated"
    more = asked_otherwise if tally.set_aside["extrapolated"] else ""
    if n < MIN_POINTS:
        raise CalibrationError(
            f"{n} labelled {unit}s are too few to fit a curve{left_out}; label at least {MIN_POINTS - n} more, drawn at "
            f"random{more}"
        )
    if min(right, n - right) < MIN_OF_EACH:
        raise CalibrationError(
            f"{right} of {n} labelled {unit}s are right{left_out}; a curve needs at least {MIN_OF_EACH} right and "
            f"{MIN_OF_EACH} wrong: label more, drawn at random{more}"
        )
