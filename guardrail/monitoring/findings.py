"""What the monitor finds, as one frozen value."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import date, timedelta
from typing import Any

from guardrail.calibration.metrics import Estimate, wilson_interval
from guardrail.calibration.provenance import Unit
from guardrail.monitoring.calibration_drift import CalibrationDrift
from guardrail.monitoring.conclusion import Kind
from guardrail.monitoring.realised_risk import RealisedRisk, Status
from guardrail.monitoring.score_drift import ScoreDrift
from guardrail.monitoring.tally import Day

_DAYS = 21  # more are told by weeks


@dataclass(frozen=True, slots=True)
class Period:
    """A day, or a week that starts on its Monday: scored answers, their mean confidence, the share of decisions that showed
    something, labels, what the labelled ones' confidences said and how many were right, and shown ones that were wrong."""

    start: date
    n: int
    said: float | None
    shown: Estimate | None
    labelled: int
    said_labelled: float | None
    right: Estimate | None
    wrong_shown: Estimate | None


@dataclass(frozen=True, slots=True)
class Monitoring:
    """What `guardrail.monitor` finds.

    Attributes:
        verdict: Drift, no sign of it, or too few data; `monitoring.conclusion` says when which.
        reasons: Why, in plain words, most certain first.
        notes: What to know about the numbers.
        false_alarms: Chance of an alarm without drift.
        unit: What a confidence is about: "answer" or "claim".
        calibrated: Answers (claims) of the calibration.
        n: Scored ones in the log.
        lines: Lines of the log that can be read.
        unreadable: Lines that cannot.
        set_aside: What else is in no figure, by reason.
        models: Lines by the model that answered.
        calibrators: Lines by the name of their calibrator.
        extrapolated: Share that was asked otherwise than in the calibration.
        unlike: Share that is about questions unlike those of the calibration.
        unscored: Share without a score.
        unscored_before: The same in the calibration.
        scores: How the scores differ from those of the calibration.
        calibration: What labels say about the confidences; None where there are too few.
        labelled: Labels.
        selected: p-value of labelled and other answers having the same scores; None if they cannot be compared.
        risks: Wrong ones among what was shown.
        statuses: Whether the policy's promises are kept; None without a promise.
        p_values: By test, corrected (Holm), to be compared with `false_alarms`.
        more_scores: Scores missing until a drift worth knowing of would show; 0: none; None: no number is enough.
        more_labels: The same of labels.
        periods: Days, or weeks of a long log.
        log: The log's name.
        calibrator: The calibrator's name.
    """

    verdict: Kind
    reasons: tuple[str, ...]
    notes: tuple[str, ...]
    false_alarms: float
    unit: Unit
    calibrated: int
    n: int
    lines: int
    unreadable: int
    set_aside: dict[str, int]
    models: dict[str, int]
    calibrators: dict[str, int]
    extrapolated: Estimate | None
    unlike: Estimate | None
    unscored: Estimate | None
    unscored_before: Estimate | None
    scores: ScoreDrift | None
    calibration: CalibrationDrift | None
    labelled: int
    selected: float | None
    risks: tuple[RealisedRisk, ...]
    statuses: dict[str, Status | None]
    p_values: dict[str, float]
    more_scores: int | None
    more_labels: int | None
    periods: tuple[Period, ...]
    log: str = ""
    calibrator: str = "given"

    @property
    def drift(self) -> bool:
        return self.verdict == "drift: recalibrate"

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready: the fields, estimates as value, low, high, n."""
        out = asdict(self)
        about = {name: out.pop(name) for name in ("log", "calibrator")}
        for period in out["periods"]:
            period["start"] = period["start"].isoformat()
        if self.calibration is not None:
            bins = [b._asdict() | {"accuracy": asdict(b.accuracy)} for b in self.calibration.reliability]
            out["calibration"]["reliability"] = bins
        return {**about, "kind": "guardrail monitor", "version": 1, **out}


def periods(days: Mapping[date, Day]) -> Iterator[Period]:
    """Days, or weeks where they span more than three; those without an answer are left out."""
    if not days:
        return
    weekly = (max(days) - min(days)).days >= _DAYS
    merged: dict[date, Day] = {}
    for day, counts in days.items():
        start = day - timedelta(days=day.weekday()) if weekly else day
        merged[start] = merged.get(start, Day()).plus(counts)
    for start, d in sorted(merged.items()):
        yield Period(
            start=start,
            n=d.scored,
            said=d.said / d.scored if d.scored else None,
            shown=wilson_interval(d.shown, d.decided) if d.decided else None,
            labelled=d.labelled,
            said_labelled=d.said_labelled / d.labelled if d.labelled else None,
            right=wilson_interval(d.right, d.labelled) if d.labelled else None,
            wrong_shown=wilson_interval(d.shown_wrong, d.shown_labelled) if d.shown_labelled else None,
        )
