"""What a report says and draws of claims: what is kept and what that loses, promises, kinds of question, examples."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from guardrail.calibration.metrics import Estimate
from guardrail.datasets.claims import ClaimRow, Fact
from guardrail.evaluation.kept_claims import Kept
from guardrail.evaluation.report_claims import ClaimPolicyCheck, ClaimReport
from guardrail.evaluation.report_examples import LabelExamples, examples_by_label
from guardrail.html.charts import Point, risk_coverage
from guardrail.html.report_figures import SUREST, Figure, Table, described
from guardrail.html.report_words import count, estimate, percent, percent_estimate, ranked_and_calibrated
from guardrail.runs.run_claims import RunClaims
from guardrail.types import ClaimAction

_STEPS = 20  # rows of the table of a curve that may have hundreds of points
_MOST_KINDS = 40


def claim_summary(report: ClaimReport, run: RunClaims) -> tuple[str, ...]:
    """The report in a few sentences."""
    found = report.assessment
    left = [f"{n} {reason.replace('_', ' ')}" for reason, n in found.left_out.items() if n]
    first = (
        f"{count(found.n, 'claim')} of {count(found.answers, 'answer')} to {count(len(run.rows), 'question')}, graded by "
        f"{run.grader}"
        + (f" (in no figure: {', '.join(left)})" if left else "")
        + f". Of the claims {percent_estimate(found.metrics['accuracy'])} are right. Every interval draws whole answers."
    )
    whole = (
        f"Ranked by one score for the whole answer, the same claims have AUROC {estimate(found.whole_auroc)}; by claim minus "
        f"that: {estimate(found.difference)}."
    )
    return (first, *ranked_and_calibrated(report), whole)


def claim_policy(check: ClaimPolicyCheck) -> str:
    """What a policy would have done with the claims, without a retriever."""
    done, kept = check.outcome, check.kept
    words: dict[ClaimAction, str] = {"keep": "kept", "hedge": "hedged", "drop": "dropped"}
    text = f"Of {count(kept.claims, 'claim')}: {', '.join(f'{done.actions[a]} {word}' for a, word in words.items())}"
    if (right := done.right["keep"]) is not None:
        text += f". Right among kept: {percent_estimate(right)}"
    if kept.right_retention is not None:
        text += f". Of the right claims {percent_estimate(kept.right_retention)} are kept"
    return f"{text}. Answers that keep a wrong claim: {percent_estimate(kept.lost)}."


def claim_promises(check: ClaimPolicyCheck) -> tuple[tuple[str, str], ...]:
    """What became of the promise in a policy's file, with a slug of the verdict; nothing where it has none."""
    proof, lost = check.proof, check.kept.lost
    if proof is None:
        return ()
    wrong = round(lost.value * lost.n)
    seen = f"{wrong} of {lost.n} answers keep a wrong claim, {percent_estimate(lost)}, exact 95 % interval"
    own = " These are the questions on which the promise was found, so this is no test of it." if check.own_data else ""
    if proof.confidence is None:
        said = f"on average over draws of the tuning data, at least {percent(proof.all_right)} of answers keep no wrong claim"
        return (("average", f"Promised: {said}. One run cannot break an average. Here {seen}.{own}"),)
    said = f"Promised: at least {percent(proof.all_right)} of answers will keep no wrong claim."
    if not check.kept.kept:
        return (("nothing-to-judge", f"{said} On this run it keeps no claim, so nothing can be said of it."),)
    verdict = {
        "kept": "Kept on this run",
        "exceeded within chance": "Exceeded on this run, though within chance (the interval holds the promised rate)",
        "broken": "Broken on this run: even the lower end of the interval is above the promised rate",
    }[str(check.outcome.promise)]
    slug = "own" if check.own_data else str(check.outcome.promise).replace(" ", "-")
    return ((slug, f"{said} {verdict}: {seen}.{own}"),)


def kept_figure(report: ClaimReport) -> Figure:
    """What keeping more claims costs, with policies and what they promise."""
    curve = report.curve
    at = min(int(np.searchsorted(curve.kept, SUREST - 1e-9)), len(curve.kept) - 1)
    finding = (
        f"Keeping the surest {percent(curve.kept[at])} of the claims, {percent_estimate(_lost(report, at))} of the answers "
        f"keep a wrong one; keeping all, {percent(curve.lost[-1])}"
    )
    rows: list[tuple[str, ...]] = []
    for step in range(_STEPS):
        i = step * (len(curve.threshold) - 1) // (_STEPS - 1)
        row = (f"{curve.threshold[i]:.3f}", percent(curve.kept[i]), percent_estimate(_lost(report, i)))
        if not rows or rows[-1] != row:
            rows.append(row)
    points = [
        Point(
            f"policy {check.outcome.policy}: kept",
            check.kept.retention.value,
            check.kept.lost,
            check.outcome.promised,
        )
        for check in report.policies
    ]
    svg = risk_coverage(
        "kept-chart",
        finding,
        described(rows),
        curve.kept,
        curve.lost,
        curve.low,
        curve.high,
        points=points,
        wrong="answers that keep a wrong claim",
        share="claims kept, of all claims",
    )
    reading = [
        "From left to right more claims are kept, the surest first. An answer is lost where a wrong claim of it is kept; "
        "one of which nothing is kept is not lost. The band is each point's own exact interval over answers, not one for the "
        "whole curve.",
    ]
    if any("retrieve" in str(rule.then) for check in report.policies for rule in check.policy.claim_rules):
        reading.append("A policy's rules that look something up are passed over: the run has no retriever.")
    tables = [
        Table(
            "Answers lost, by what is kept", ("confidence from", "claims kept", "answers with a wrong one"), tuple(rows)
        ),
        *(_by_kind(check) for check in report.policies if check.groups),
    ]
    if any(check.groups for check in report.policies):
        reading.append(
            "By kind of question there is a table for each policy. What a policy promises is about all kinds together: of many "
            "kinds, some lie above it by chance, and some because they are harder."
        )
    return Figure("kept", "What is kept", finding, (svg,), tuple(reading), tuple(tables))


def claim_examples(report: ClaimReport, run: RunClaims) -> tuple[LabelExamples, ...]:
    """Claims of each label, drawn by lot, each with what is known of its question."""
    return examples_by_label(list(_records(report, run)), report.confidences, report.correct)


def claim_key_figures(report: ClaimReport) -> list[tuple[str, str, str]]:
    """Name, value, interval or remark: what stands before accuracy, AUROC and ECE."""
    found = report.assessment
    return [("claims", str(found.n), f"of {count(found.answers, 'answer')}")]


def _by_kind(check: ClaimPolicyCheck) -> Table:
    groups = sorted(check.groups.items(), key=lambda pair: -pair[1].lost.value)
    rows = [_kind(name or "not named", kept) for name, kept in groups[:_MOST_KINDS]]
    if len(groups) > _MOST_KINDS:
        rows.append((f"{len(groups) - _MOST_KINDS} more kinds", "", "", "", ""))
    headings = ("kind", "answers", "with a wrong claim kept, exact 95 % interval", "claims kept", "right ones kept")
    return Table(f"Policy {check.outcome.policy} by kind of question", headings, tuple(rows))


def _kind(name: str, kept: Kept) -> tuple[str, ...]:
    right = f"{kept.right_kept} of {kept.right}"
    return name, str(kept.lost.n), percent_estimate(kept.lost), f"{kept.kept} of {kept.claims}", right


def _lost(report: ClaimReport, i: int) -> Estimate:
    c = report.curve
    return Estimate(float(c.lost[i]), float(c.low[i]), float(c.high[i]), report.assessment.answers)


def _records(report: ClaimReport, run: RunClaims) -> Iterator[dict[str, Any]]:
    """Each claim as an example's record."""
    for claim, i in zip(report.answers.claims, report.answers.groups.tolist(), strict=True):
        record, row = report.answers.records[i], run.rows[i]
        yield {
            "key": f"{record['key']} {claim['start']:09} {claim['end']:09}",
            "question": record["question"],
            "accepted": _known(row),
            "answer": claim["text"],
        }


def _known(row: ClaimRow) -> list[str]:
    """What a row's facts accept, in words."""
    return [_accepted(fact) for fact in row.facts] or ["as a person labelled it"]


def _accepted(fact: Fact) -> str:
    about = f"{fact.about[0]}: " if fact.about else ""
    return about + ", ".join((*fact.values, *fact.statements)[:3])
