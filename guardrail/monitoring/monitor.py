"""A log of verdicts, a calibrator, perhaps a policy with a promise -> what has changed, and whether to recalibrate."""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import datetime

import numpy as np
from scipy.stats import chi2_contingency

from guardrail.calibration.isotonic import IsotonicCalibrator
from guardrail.calibration.metrics import Estimate, Floats, wilson_interval
from guardrail.calibration.provenance import Unit
from guardrail.calibration.shipped import load_calibrator
from guardrail.errors import CalibrationError
from guardrail.monitoring.alarms import Test, more_unscored, name_of, tests_of
from guardrail.monitoring.calibration_drift import CalibrationDrift, calibration_drift, design_effect
from guardrail.monitoring.conclusion import Kind, holm, labels_needed, scores_needed
from guardrail.monitoring.findings import Monitoring, periods
from guardrail.monitoring.reading import StrPath, labels_of, read_into
from guardrail.monitoring.realised_risk import RealisedRisk, Shown, realised_risk
from guardrail.monitoring.reference import Reference
from guardrail.monitoring.score_drift import score_drift
from guardrail.monitoring.tally import Labelled, Tally
from guardrail.monitoring.words import again, notes
from guardrail.policy import Policy, check_proof

FALSE_ALARMS = 0.05
FEWEST_LABELS = 10  # below, nothing about the confidences is tested


def monitor(
    log: StrPath,
    calibrator: IsotonicCalibrator | StrPath,
    *,
    labels: StrPath | None = None,
    policy: Policy | StrPath | None = None,
    last: int | None = None,
    since: datetime | str | None = None,
    calibrated_only: bool = False,
    false_alarms: float = FALSE_ALARMS,
    seed: int = 0,
) -> Monitoring:
    """Have scores, confidences or errors drifted since the calibration? No model is loaded.

        found = guardrail.monitor("verdicts.jsonl", "calibrator.json")
        found.verdict, found.reasons

    Args:
        log: Verdicts, one a line, as `VerdictLog` and `guardrail ask --log` write them; "-" is standard input.
        calibrator: The one that the verdicts were made with, its file or its `shipped:NAME`.
        labels: A file that says who was right: rows of `id` and `correct`, and of `claim` for claims. Without labels only
            the scores can be compared.
        policy: A policy, its name or file: count its decisions alone, against its promise where it has a proof.
        last: Use at most so many lines, the last ones.
        since: Take only lines from then on; an ISO date without an offset is in UTC.
        calibrated_only: Leave out answers whose prompt or decoding differed from the calibration's.
        false_alarms: Chance of an alarm without drift, all tests together, for one look; who looks every day has it every
            day.
        seed: Of the draws behind p-values and intervals.

    Returns:
        The verdict, its reasons and every number behind it; `to_dict()` is what `guardrail monitor --json` prints.

    Raises:
        DataError: For a log that is none, and for one without a line of this calibrator.
        CalibrationError: For a calibrator that cannot be read, or a rate outside 0 to 1.
        CalibratorMismatchError: For a policy that was tuned with another calibrator.
        PolicyError: For a policy that cannot be read.
    """
    if not isinstance(calibrator, IsotonicCalibrator):
        calibrator = load_calibrator(calibrator)
    if policy is not None and not isinstance(policy, Policy):
        policy = Policy.load(policy)
    if not 0 < false_alarms < 1:
        raise CalibrationError(f"the false-alarm rate is {false_alarms:g}; it must lie between 0 and 1, ends excluded")
    if policy is not None:
        given = "the calibrator given"
        check_proof(policy.proof, policy.name, calibrator, given)
        check_proof(policy.claims_proof, policy.name, calibrator, given)
    reference = Reference.of(calibrator)
    tally = Tally(
        reference,
        labels=labels_of(labels),
        policy=policy.name if policy else None,
        proof=(policy.proof or policy.claims_proof) if policy else None,
        calibrated_only=calibrated_only,
    )
    unreadable = read_into(tally, log, last, since)
    found = _conclude(reference, tally, unreadable, policy, false_alarms, seed)
    name = calibrator.source or "given"
    remedy = (again(os.fspath(log), calibrator.source, labels),) if found.drift else ()
    return replace(found, log=os.fspath(log), calibrator=name, notes=remedy + found.notes)


def _conclude(
    reference: Reference, tally: Tally, unreadable: int, policy: Policy | None, alpha: float, seed: int
) -> Monitoring:
    n, kept = tally.scored, tally.labelled
    out = wilson_interval(tally.outside, n) if n else None
    scores = score_drift(reference, tally.cells, out, design_effect=tally.design_effect, seed=seed) if out else None
    of_labelled, calibration = _calibration(reference, kept, seed)
    risks = _risks(tally, policy, reference.unit)
    before, unscored = _unscored(reference, tally)
    tests = {test.name: test for test in tests_of(scores, calibration, unscored, risks)}
    p_values = holm({name: test.p_value for name, test in tests.items()})
    alarms = [name for name, p_value in p_values.items() if p_value <= alpha]  # most certain first

    level = alpha / max(1, len(tests))
    share = calibration.seen if calibration else float(reference.calibrator.base_rate)
    effective = int(len(of_labelled) / (calibration.design_effect if calibration else 1.0))
    more_scores = _missing(scores_needed(reference.n, level), scores.effective_n if scores else 0)
    more_labels = _missing(labels_needed(reference.n, share, level), effective)
    selected = _selected(reference, tally.cells, reference.cells(of_labelled)) if len(of_labelled) else None
    kind: Kind = "no sign of drift"
    if alarms:
        kind = "drift: recalibrate"
    elif more_scores != 0 or (len(kept.correct) and more_labels != 0):
        kind = "too few data"
    return Monitoring(
        verdict=kind,
        reasons=tuple(tests[name].reason for name in alarms),
        notes=tuple(notes(reference, tally, len(of_labelled), more_scores, more_labels, selected)),
        false_alarms=alpha,
        unit=reference.unit,
        calibrated=reference.n,
        n=n,
        lines=tally.lines,
        unreadable=unreadable,
        set_aside=dict(tally.set_aside),
        models=dict(tally.models),
        calibrators=dict(tally.calibrators),
        extrapolated=wilson_interval(tally.extrapolated, n) if n else None,
        unlike=wilson_interval(tally.unlike, n) if n and reference.calibrator.familiarity else None,
        unscored=tally.unscored_share,
        unscored_before=before,
        scores=scores,
        calibration=calibration,
        labelled=len(kept.correct),
        selected=selected,
        risks=risks,
        statuses={risk.what: risk.status(name_of(risk) in alarms) for risk in risks},
        p_values=p_values,
        more_scores=more_scores,
        more_labels=more_labels,
        periods=tuple(periods(tally.days)),
    )


def _calibration(reference: Reference, kept: Labelled, seed: int) -> tuple[Floats, CalibrationDrift | None]:
    """The scores of the labelled rows that have one, (m,), and what their labels say of the confidences."""
    about_scores = ~np.isnan(np.frombuffer(kept.score)) if len(kept.score) else np.zeros(0, dtype=np.bool_)
    s, p, correct, answer = (
        np.array(column)[about_scores] for column in (kept.score, kept.p_correct, kept.correct, kept.answer)
    )
    if len(s) < FEWEST_LABELS:
        return s, None
    grouped = answer if reference.unit == "claim" else None
    return s, calibration_drift(reference, s, p, correct.astype(np.bool_), answers=grouped, seed=seed)


def _unscored(reference: Reference, tally: Tally) -> tuple[Estimate | None, Test | None]:
    """The share without a score in the calibration, where it is known, and whether that of the log is another one."""
    if reference.unscored is None:
        return None, None
    before, now = wilson_interval(reference.unscored, reference.n + reference.unscored), tally.unscored_share
    if reference.unit != "answer" or now is None:
        return before, None
    counts = (tally.unscored, tally.scored), (reference.unscored, reference.n)
    return before, more_unscored(*counts, (now, before))


def _missing(needed: int | None, there: int) -> int | None:
    return None if needed is None else max(0, needed - there)


def _risks(tally: Tally, policy: Policy | None, unit: Unit) -> tuple[RealisedRisk, ...]:
    proof = policy.proof if policy else None
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
    if policy is not None and policy.claims_proof is not None:
        of_claims = policy.claims_proof
        # an average over draws of the tuning data says little of this one policy: there is nothing to test
        lost, most = tally.lost, None if of_claims.confidence is None else 1 - of_claims.all_right
        out.append(realised_risk("answers", sum(lost), len(lost), tally.total["answers"], max_error=most))
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
