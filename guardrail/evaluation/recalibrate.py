"""`guardrail.recalibrate`: logged scores and people's labels -> the calibrator's curve fitted again, without the model."""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from guardrail.calibration.curve_fit import cross_validated_predictions
from guardrail.calibration.folds import Groups
from guardrail.calibration.isotonic import IsotonicCalibrator
from guardrail.calibration.metrics import (
    Bools,
    Estimate,
    Floats,
    ReliabilityBin,
    bootstrap_difference,
    calibration_metrics,
    ece,
    reliability_table,
)
from guardrail.calibration.origin import origin_of, through_of
from guardrail.calibration.provenance import Provenance, Unit
from guardrail.calibration.record import MIN_OF_EACH, MIN_POINTS
from guardrail.calibration.shipped import load_calibrator
from guardrail.errors import CalibrationError, DataError
from guardrail.evaluation.setting import StrPath, check_output, name_of
from guardrail.monitoring.reading import labels_of, read_into
from guardrail.monitoring.reference import Reference
from guardrail.monitoring.tally import Tally


@dataclass(frozen=True, slots=True, eq=False)
class Recalibration:
    """What `guardrail.recalibrate` finds.

    Attributes:
        calibrator: The old one with its curve fitted again.
        unit: What a confidence is about: "answer" or "claim".
        n: Labelled answers, or claims, that the curve was fitted on.
        answers: The answers that these claims come from.
        before: `accuracy` of them; `auroc`, `aurc`, `brier` and `ece` of the old calibrator's probabilities, which knew none.
        after: The same of the new curve, cross-validated.
        ece_difference: ECE after minus before, paired; below zero = better.
        reliability: What the new curve says out of fold against what was right, by bins.
        lines: Lines of the log that can be read.
        unreadable: Lines that cannot.
        left_out: What the curve was not fitted on, by reason.
        notes: What to know about the figures.
        log: The log's name.
        old: The old calibrator's name.
    """

    calibrator: IsotonicCalibrator
    unit: Unit
    n: int
    answers: int
    before: dict[str, Estimate]
    after: dict[str, Estimate]
    ece_difference: Estimate
    reliability: tuple[ReliabilityBin, ...]
    lines: int
    unreadable: int
    left_out: Mapping[str, int]
    notes: tuple[str, ...]
    log: str
    old: str

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready, without the calibrator itself: what `guardrail recalibrate --json` prints."""
        return {
            "kind": "guardrail recalibrate",
            "version": 1,
            "log": self.log,
            "calibrator": self.old,
            "unit": self.unit,
            "n": self.n,
            "answers": self.answers,
            "before": {name: asdict(e) for name, e in self.before.items()},
            "after": {name: asdict(e) for name, e in self.after.items()},
            "ece_difference": asdict(self.ece_difference),
            "reliability": [b._asdict() | {"accuracy": asdict(b.accuracy)} for b in self.reliability],
            "lines": self.lines,
            "unreadable": self.unreadable,
            "left_out": dict(self.left_out),
            "notes": list(self.notes),
        }


@dataclass(frozen=True, slots=True, eq=False)
class _Labelled:
    """Rows to fit: score and old p_correct, (n,); the label, (n,); for claims which answer each comes from, (n,)."""

    score: Floats
    p_correct: Floats
    correct: Bools
    groups: Groups | None


def recalibrate(
    log: StrPath,
    calibrator: IsotonicCalibrator | StrPath,
    output: StrPath | None = None,
    *,
    labels: StrPath | None = None,
    last: int | None = None,
    since: datetime | str | None = None,
    with_extrapolated: bool = False,
    seed: int = 0,
    command: str = "guardrail.recalibrate",
) -> Recalibration:
    """Fit a calibrator's curve again from logged scores and people's labels. No model is loaded.

        found = guardrail.recalibrate("verdicts.jsonl", "old.json", "new.json", labels="labels.jsonl")
        found.before["ece"].value, found.after["ece"].value

    Model, scorer and its options stay as they were: only what a score is worth is learnt anew. Policies that were tuned with
    the old calibrator are refused with the new one; tune them again.

    Args:
        log: Verdicts, one a line, as `VerdictLog` and `guardrail ask --log` write them; "-" is standard input.
        calibrator: The one that the verdicts were made with, its file or its `shipped:NAME`.
        output: Where the new calibrator is written; None writes nothing.
        labels: A file that says who was right: rows of `id` and `correct`, and of `claim` for claims. None takes the labels
            that stand in the log.
        last: Use at most so many lines, the last ones.
        since: Use only lines from then on; an ISO date without an offset is in UTC.
        with_extrapolated: Also use answers whose prompt or decoding differed from the calibration's.
        seed: Of the folds, and of the draws behind the intervals.
        command: What the new calibrator says it was made by.

    Returns:
        The new calibrator, and the same figures before and after.

    Raises:
        DataError: For a log or labels that are none, a log without a line of this calibrator, answers of several models, and
            an output that cannot be written or is one of the other files.
        CalibrationError: For a calibrator that cannot be read or does not say what it was fitted on, and for too few labelled
            answers, or too few right or wrong ones.
    """
    written = _output(output, log, calibrator, labels)
    if not isinstance(calibrator, IsotonicCalibrator):
        calibrator = load_calibrator(calibrator)
    name, origin = name_of(calibrator), origin_of(calibrator)
    if (chain := through_of(origin)) is not None:
        raise CalibrationError(
            f"{name} has a curve for each kind of conversation of the chain {chain}, and a log does not say which kind a score "
            "is of; ask again: guardrail calibrate DATA.jsonl --through FILE.py:NAME -o calibrator.json"
        )
    reference = Reference.of(calibrator)
    tally = Tally(reference, labels=labels_of(labels), calibrated_only=not with_extrapolated)
    unreadable = read_into(tally, log, last, since)
    rows = _rows_of(tally, origin)
    _refuse_too_few(rows.correct, reference.unit, tally)
    p = cross_validated_predictions(rows.score, rows.correct, seed=seed, groups=rows.groups)
    before, after = (
        calibration_metrics(1 - said, said, rows.correct, seed=seed, groups=rows.groups) for said in (rows.p_correct, p)
    )
    difference = bootstrap_difference(
        ece, (p, rows.correct), (rows.p_correct, rows.correct), seed=seed, groups=rows.groups
    )
    fitted = IsotonicCalibrator().fit(
        rows.score,
        rows.correct,
        metrics=after,
        unit=reference.unit,
        groups=rows.groups,
        familiar=calibrator.familiarity,
        contexts=calibrator.contexts,
        provenance=_again(
            origin, calibrator, rows, log=os.fspath(log), extrapolated=with_extrapolated, command=command
        ),
    )
    if written is not None:
        fitted.save(written)
    return Recalibration(
        calibrator=fitted,
        unit=reference.unit,
        n=len(rows.correct),
        answers=len(rows.correct) if rows.groups is None else len(np.unique(rows.groups)),
        before=before,
        after=after,
        ece_difference=difference,
        reliability=reliability_table(p, rows.correct),
        lines=tally.lines,
        unreadable=unreadable,
        left_out=dict(tally.set_aside),
        notes=_notes(reference.unit, difference),
        log=os.fspath(log),
        old=name,
    )


def _output(
    output: StrPath | None, log: StrPath, calibrator: IsotonicCalibrator | StrPath, labels: StrPath | None
) -> Path | None:
    """Raises `DataError` for an output that cannot be written, and for one that would take the place of what is read."""
    if output is None:
        return None
    written, old = Path(output), None if isinstance(calibrator, IsotonicCalibrator) else calibrator
    check_output(written, "the calibrator")
    if written.resolve() in {Path(path).resolve() for path in (log, old, labels) if path is not None}:
        raise DataError(
            f"the output {str(written)!r} is the log, the labels or the old calibrator; give another file (the old calibrator "
            "is what its verdicts are known by)"
        )
    return written


def _rows_of(tally: Tally, origin: Provenance) -> _Labelled:
    """The labelled rows that have a score without evidence, of one model; all others are counted as set aside.

    The same weights go by several names, so one other name than the calibrator's is taken for them.
    """
    kept = tally.labelled
    scored = ~np.isnan(np.array(kept.score, dtype=np.float64))
    names = Counter(model for model, there in zip(kept.model, scored, strict=True) if there)
    if len(names) > 1 and origin.model.name not in names:
        told = ", ".join(f"{name} {n}" for name, n in names.most_common())
        raise DataError(
            f"the labelled answers come from several models ({told}), none of them {origin.model.name!r}, which the calibrator "
            "was fitted on; give the lines of one model"
        )
    wanted = origin.model.name if origin.model.name in names else next(iter(names), None)
    chosen = scored & np.array([model == wanted for model in kept.model], dtype=np.bool_)
    unit = tally.reference.unit
    for reason, n in (
        (f"labelled {unit}s given with evidence or without a score", int((~scored).sum())),
        (f"labelled {unit}s of another model", int((scored & ~chosen).sum())),
        ("without a label", tally.scored - int(scored.sum())),
    ):
        if n:
            tally.set_aside[reason] += n
    return _Labelled(
        score=np.array(kept.score, dtype=np.float64)[chosen],
        p_correct=np.array(kept.p_correct, dtype=np.float64)[chosen],
        correct=np.array(kept.correct, dtype=np.bool_)[chosen],
        groups=np.array(kept.answer)[chosen] if unit == "claim" else None,
    )


def _refuse_too_few(correct: Bools, unit: Unit, tally: Tally) -> None:
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


def _again(
    origin: Provenance,
    old: IsotonicCalibrator,
    rows: _Labelled,
    *,
    log: str,
    extrapolated: bool,
    command: str,
) -> Provenance:
    """The old provenance with what is new in it.

    The questions stay: the scorer's options were chosen on them. The grader stays, too: it grades when nobody labels.
    """
    columns = (rows.score, rows.correct, *([] if rows.groups is None else [rows.groups]))
    told = json.dumps([column.tolist() for column in columns])
    return origin.model_copy(
        update={
            "n": len(rows.correct),
            "accuracy": float(rows.correct.mean()),
            "created": datetime.now(UTC).date().isoformat(),
            "command": command,
            "recalibrated": {
                "calibrator": name_of(old),
                "calibrator_sha256": old.digest,
                "created": origin.created,
                "command": origin.command,
                "n": origin.n,
                "accuracy": origin.accuracy,
                "log": log,
                "data": hashlib.sha256(told.encode()).hexdigest(),
                "labels": "people",
                "with_extrapolated": extrapolated,
            },
        }
    )


def _notes(unit: Unit, difference: Estimate) -> tuple[str, ...]:
    found = [
        f"labels drawn at random, or by score or action, are fair; those of {unit}s that were complained about are not, and no "
        "log shows it",
        "a policy tuned with the old calibrator is refused with the new one: tune it again with guardrail tune",
    ]
    if difference.high >= 0:
        found.insert(0, "these labels do not show that the new curve is the better one; more labels would")
    return tuple(found)
