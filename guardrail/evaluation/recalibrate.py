"""`guardrail.recalibrate`: logged scores and people's labels -> the calibrator's curve fitted again, without the model."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from guardrail.calibration.curve_fit import cross_validated_predictions
from guardrail.calibration.isotonic import IsotonicCalibrator
from guardrail.calibration.metrics import (
    Estimate,
    ReliabilityBin,
    bootstrap_difference,
    calibration_metrics,
    ece,
    reliability_table,
)
from guardrail.calibration.origin import origin_of, through_of
from guardrail.calibration.provenance import Provenance, Unit
from guardrail.calibration.shipped import load_calibrator
from guardrail.errors import DataError
from guardrail.evaluation.recalibrate_contexts import ContextAgain, fit_contexts_again
from guardrail.evaluation.recalibrate_rows import Labelled, refuse_too_few, rows_of
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
        contexts: What became of the curves of kinds of conversation.
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
    contexts: tuple[ContextAgain, ...] = ()

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
            **({"contexts": [context.to_dict() for context in self.contexts]} if self.contexts else {}),
        }


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

    Model, scorer and its options stay as they were: only what a score is worth is learnt anew. The curve of a kind of
    conversation is fitted again from labels of that kind, and kept where they are too few. Policies that were tuned with
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
    reference = Reference.of(calibrator)
    tally = Tally(reference, labels=labels_of(labels), calibrated_only=not with_extrapolated)
    unreadable = read_into(tally, log, last, since)
    rows, in_contexts = rows_of(tally, origin)
    refuse_too_few(rows.correct, reference.unit, tally)
    fitted = IsotonicCalibrator().fit(
        rows.score,
        rows.correct,
        metrics={},
        unit=reference.unit,
        groups=rows.groups,
        contexts=calibrator.contexts,
    )
    fitted, contexts, p_in_contexts = fit_contexts_again(fitted, calibrator, in_contexts, seed=seed)
    if through_of(origin) is not None:  # every answer has a kind of conversation, and the common curve is nobody's own
        p = p_in_contexts
    else:
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
        contexts=fitted.contexts,
        provenance=_again(
            origin, calibrator, rows, contexts, log=os.fspath(log), extrapolated=with_extrapolated, command=command
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
        notes=_notes(reference.unit, difference, contexts),
        contexts=contexts,
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


def _again(
    origin: Provenance,
    old: IsotonicCalibrator,
    rows: Labelled,
    contexts: Sequence[ContextAgain],
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
                **({"contexts": {c.name: c.n if c.fitted else 0 for c in contexts}} if contexts else {}),
            },
        }
    )


def _notes(unit: Unit, difference: Estimate, contexts: Sequence[ContextAgain]) -> tuple[str, ...]:
    found = [
        *(context.in_words() for context in contexts),
        f"labels drawn at random, or by score or action, are fair; those of {unit}s that were complained about are not, and no "
        "log shows it",
        "a policy tuned with the old calibrator is refused with the new one: tune it again with guardrail tune",
    ]
    if difference.high >= 0:
        found.insert(0, "these labels do not show that the new curve is the better one; more labels would")
    return tuple(found)
