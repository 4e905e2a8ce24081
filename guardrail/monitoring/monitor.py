"""A log of verdicts, a calibrator, perhaps a policy with a promise -> what has changed, and whether to recalibrate."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator
from datetime import datetime

import numpy as np
from scipy.stats import chi2_contingency, fisher_exact

from guardrail.calibration.isotonic import IsotonicCalibrator
from guardrail.calibration.metrics import Floats, wilson_interval
from guardrail.calibration.provenance import Unit
from guardrail.errors import CalibrationError, DataError
from guardrail.monitoring.calibration_drift import calibration_drift, design_effect
from guardrail.monitoring.conclusion import Kind, holm, labels_needed, scores_needed
from guardrail.monitoring.entries import Entry, entries, labels
from guardrail.monitoring.findings import Monitoring, periods
from guardrail.monitoring.realised_risk import RealisedRisk, Shown, realised_risk
from guardrail.monitoring.reference import Reference
from guardrail.monitoring.score_drift import score_drift
from guardrail.monitoring.tally import Tally
from guardrail.monitoring.words import notes, reason
from guardrail.policy import Policy, check_proof

FALSE_ALARMS = 0.05
FEWEST_LABELS = 10  # below, nothing about the confidences is tested


def monitor(
    log: str | os.PathLike[str],
    calibrator: IsotonicCalibrator,
    *,
    policy: Policy | None = None,
    labelled: str | os.PathLike[str] | None = None,
    last: int | None = None,
    since: datetime | None = None,
    calibrated_only: bool = False,
    false_alarms: float = FALSE_ALARMS,
    seed: int = 0,
) -> Monitoring:
    """Compare a log with the calibration.

        found = monitor("verdicts.jsonl", IsotonicCalibrator.load("c.json"))
        found.verdict, found.reasons

    policy: counts only its decisions as risk, against its promise where it has a proof. labelled: a file of labels. last,
    since: only so many lines from the end, only lines from then on. calibrated_only: leave out answers whose prompt or decoding
    differed from the calibration's. false_alarms: the chance of an alarm without drift, all tests together, for one look; who
    looks every day has it every day. seed: of the draws.

    Raises `DataError` for a log that is none, and for one without a line of this calibrator; `CalibratorMismatchError` for a
    policy that was tuned with another one.
    """
    if not 0 < false_alarms < 1:
        raise CalibrationError(f"the false-alarm rate is {false_alarms:g}; it must lie between 0 and 1, ends excluded")
    if policy is not None:
        check_proof(policy.proof, policy.name, calibrator, "the calibrator given")
    reference = Reference.of(calibrator)
    proof = policy.proof if policy and reference.unit == "answer" else None
    given = labels(os.fspath(labelled)) if labelled is not None else {}
    tally = Tally(
        reference,
        labels=given,
        policy=policy.name if policy else None,
        proof=proof,
        calibrated_only=calibrated_only,
    )
    unreadable = 0
    for entry in _window(entries(os.fspath(log), reference.unit), last, since, tally):
        if entry is None:
            unreadable += 1
        else:
            tally.add(entry)
    tally.finish()
    if not tally.lines:
        raise DataError(
            f"{os.fspath(log)} holds no verdict" + (f" ({unreadable} lines are torn)" if unreadable else "")
        )
    if not tally.scored and not tally.unscored and not tally.with_evidence:
        raise DataError(
            f"{os.fspath(log)} holds no {reference.unit} of this calibrator: {dict(tally.set_aside) or 'nothing to compare'}; "
            "give the calibrator that the verdicts were made with"
        )
    if unused := len(given) - len(tally.used):
        tally.set_aside["labels for ids that are not in the log"] += unused
    return _conclude(reference, tally, unreadable, policy, false_alarms, seed)


def _window(
    found: Iterator[Entry | None], last: int | None, since: datetime | None, tally: Tally
) -> Iterable[Entry | None]:
    if since is not None:
        found = _from(found, since, tally)
    return found if last is None else deque(found, maxlen=last)


def _from(found: Iterator[Entry | None], since: datetime, tally: Tally) -> Iterator[Entry | None]:
    for entry in found:
        if entry is None or (entry.time is not None and entry.time >= since):
            yield entry
        elif entry.time is None:
            tally.set_aside["without a time"] += 1


def _conclude(
    reference: Reference, tally: Tally, unreadable: int, policy: Policy | None, alpha: float, seed: int
) -> Monitoring:
    unit, n = reference.unit, tally.scored
    outside = wilson_interval(tally.outside, n) if n else None
    scores = (
        score_drift(reference, tally.cells, outside, design_effect=tally.design_effect, seed=seed) if outside else None
    )
    kept = tally.labelled
    about_scores = ~np.isnan(np.frombuffer(kept.score)) if len(kept.score) else np.zeros(0, dtype=np.bool_)
    s, p, correct, answer = (
        np.array(column)[about_scores] for column in (kept.score, kept.p_correct, kept.correct, kept.answer)
    )
    calibration = None
    if len(s) >= FEWEST_LABELS:
        grouped = answer if unit == "claim" else None
        calibration = calibration_drift(reference, s, p, correct.astype(np.bool_), answers=grouped, seed=seed)
    risks = _risks(tally, policy, unit)

    tests: dict[str, float] = {}
    if scores is not None:
        tests |= {"scores": scores.p_value, "outside": scores.outside_p_value}
    before = None
    if reference.unscored is not None:
        before = wilson_interval(reference.unscored, reference.n + reference.unscored)
        if unit == "answer" and (n + tally.unscored):
            table = [[tally.unscored, n], [reference.unscored, reference.n]]
            tests["unscored"] = float(fisher_exact(table)[1])
    if calibration is not None:
        tests["gap"] = calibration.gap_p_value
        if calibration.slope_p_value is not None:
            tests["slope"] = calibration.slope_p_value
    tests |= {f"promise: {risk.what}": risk.p_value for risk in risks if risk.p_value is not None}
    p_values = holm(tests, alpha)
    found = [name for name, p_value in p_values.items() if p_value <= alpha]

    level = alpha / max(1, len(tests))
    share = calibration.seen if calibration else float(reference.calibrator.base_rate)
    enough_scores = scores_needed(reference.n, level)
    enough_labels = labels_needed(reference.n, share, level)
    more_scores = None if enough_scores is None else max(0, enough_scores - (scores.effective_n if scores else 0))
    effective = len(s) / (calibration.design_effect if calibration else 1.0)
    more_labels = None if enough_labels is None else max(0, enough_labels - int(effective))
    selected = _selected(reference, tally.cells, reference.cells(s)) if len(s) else None
    kind: Kind = "no sign of drift"
    if found:
        kind = "drift: recalibrate"
    elif more_scores != 0 or (len(kept.correct) and more_labels != 0):
        kind = "too few data"
    return Monitoring(
        verdict=kind,
        reasons=tuple(reason(name, scores, calibration, risks, tally.unscored_share, before) for name in found),
        notes=tuple(notes(reference, tally, len(s), more_scores, more_labels, selected)),
        false_alarms=alpha,
        unit=unit,
        calibrated=reference.n,
        n=n,
        lines=tally.lines,
        unreadable=unreadable,
        set_aside=dict(tally.set_aside),
        models=dict(tally.models),
        calibrators=dict(tally.calibrators),
        extrapolated=wilson_interval(tally.extrapolated, n) if n else None,
        unscored=tally.unscored_share,
        unscored_before=before,
        scores=scores,
        calibration=calibration,
        labelled=len(kept.correct),
        selected=selected,
        risks=risks,
        statuses={risk.what: risk.status(f"promise: {risk.what}" in found) for risk in risks},
        p_values=p_values,
        more_scores=more_scores,
        more_labels=more_labels,
        periods=tuple(periods(tally.days)),
    )


def _risks(tally: Tally, policy: Policy | None, unit: Unit) -> tuple[RealisedRisk, ...]:
    proof = policy.proof if policy and unit == "answer" else None
    out = []
    whats: tuple[Shown, ...] = ("answered", "shown")
    for what in whats:
        promise = None if proof is None else proof.answered if what == "answered" else proof.shown
        chosen = np.array(tally.labelled.shown[what], dtype=np.bool_)
        wrong = ~np.array(tally.labelled.correct, dtype=np.bool_)[chosen]
        design = 1.0
        if unit == "claim" and len(wrong):
            design = design_effect(wrong - wrong.mean(), np.array(tally.labelled.answer)[chosen])
        out.append(
            realised_risk(
                what,
                int(wrong.sum()),
                len(wrong),
                tally.total[what],
                max_error=promise.max_error if promise else None,
                design_effect=design,
            )
        )
    return tuple(out)


def _selected(reference: Reference, counts: Floats, of_labelled: Floats) -> float | None:
    """p-value of labelled and other rows having the same scores, by fifths of the calibration (chi-squared)."""
    fifths = (reference.groups() // 2).astype(np.intp)
    labelled = np.bincount(fifths, weights=of_labelled)
    others = np.bincount(fifths, weights=counts) - labelled
    table = np.stack([labelled, others])
    table = table[:, table.sum(axis=0) > 0]
    if table.shape[1] < 2 or table.sum(axis=1).min() < FEWEST_LABELS:
        return None
    return float(chi2_contingency(table).pvalue)
