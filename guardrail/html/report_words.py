"""What a report says in words: numbers with their intervals, findings that follow from them by rule, and what to beware of."""

from __future__ import annotations

from collections.abc import Sequence

from guardrail.calibration.metrics import Estimate, ReliabilityBin
from guardrail.calibration.provenance import Provenance
from guardrail.evaluation.bench_file import BenchRecord
from guardrail.evaluation.report import PolicyCheck, PromiseCheck, Report
from guardrail.evaluation.report_claims import ClaimReport
from guardrail.runs.run_answers import GradedRun, RunAnswers
from guardrail.types import Action

SMALL = 100
"""Scored answers below which a report says that it rests on few."""


def estimate(e: Estimate) -> str:
    """`0.711 (0.677 to 0.740)`."""
    return f"{e.value:.3f} ({e.low:.3f} to {e.high:.3f})"


_NARROW = "\u00a0%"  # the number and its unit stay on one line


def percent(share: float) -> str:
    """`7.1 %`; ends only where it is exactly so: `0 %`, `100 %`, else `< 0.1 %`, `> 99.9 %`."""
    text = f"{100 * share:.1f}"
    if text == "0.0" and share > 0:
        return f"<\u00a00.1{_NARROW}"
    if text == "100.0" and share < 1:
        return f">\u00a099.9{_NARROW}"
    return f"{text.removesuffix('.0') if share in (0, 1) else text}{_NARROW}"


def percent_estimate(e: Estimate) -> str:
    """`7.1 % (4.0 to 12.0 %)`."""
    return f"{percent(e.value)} ({percent(e.low).removesuffix(_NARROW)} to {percent(e.high)})"


def count(n: int, what: str) -> str:
    """`1 answer`, `3 answers`."""
    return f"{n} {what if n == 1 else what + 's'}"


def ranking(report: Report | ClaimReport) -> str:
    """Whether confidence tells right from wrong, from AUROC's interval."""
    auroc = report.metrics.get("auroc")
    if auroc is None:
        return f"Ranking cannot be measured: {report.undefined['auroc']}"
    figures = f"AUROC {estimate(auroc)}"
    if auroc.low > 0.5:
        return f"Right {report.unit}s get more confidence than wrong ones: {figures}"
    if auroc.high < 0.5:
        return f"Confidence points the wrong way, wrong {report.unit}s get more of it: {figures}"
    return f"This run does not show that confidence tells right from wrong: {figures}"


def agreement(bins: Sequence[ReliabilityBin]) -> tuple[int, int]:
    """Bins in which the mean stated confidence lies within the interval of what was right, and all bins."""
    return sum(b.accuracy.low <= b.mean_p <= b.accuracy.high for b in bins), len(bins)


def calibration(report: Report | ClaimReport) -> str:
    """Whether stated and seen agree, by counting bins; the size of the difference is ECE's."""
    good, bins = agreement(report.reliability)
    ece = report.metrics.get("ece")
    figures = f"; ECE {estimate(ece)}" if ece else ""
    agree = "Stated confidence agrees with the share that is right in"
    if good == bins:
        return f"{agree} {'the one bin' if bins == 1 else f'all {bins} bins'}{figures}"
    return f"{agree} {good} of {bins} bins{figures}"


def summary(report: Report, run: RunAnswers) -> tuple[str, ...]:
    """The report in a few sentences."""
    accuracy, records = report.metrics["accuracy"], report.answers.records
    first = (
        f"{count(len(records), 'question')}, answered greedily and graded by the rule {run.grader!r}. Of the scored answers "
        f"{percent_estimate(accuracy)} are right."
    )
    return (first, *ranked_and_calibrated(report))


def ranked_and_calibrated(report: Report | ClaimReport) -> tuple[str, ...]:
    """What AUROC and ECE say, a sentence each."""
    lines = []
    if auroc := report.metrics.get("auroc"):
        lines.append(
            f"{ranking(report)}. Given one right and one wrong {report.unit}, the right one has the higher confidence in "
            f"{percent(auroc.value)} of such pairs; 50\u00a0% would be chance."
        )
    if ece := report.metrics.get("ece"):
        before = f", against {estimate(report.own_ece)} for the model's own probability" if report.own_ece else ""
        lines.append(
            f"Stated confidence and the share that is right differ by {100 * ece.value:.1f} percentage points on average: "
            f"ECE {estimate(ece)}{before}."
        )
    return tuple(lines)


def promise(check: PromiseCheck) -> str:
    """Whether a promise held on the run, with the counts."""
    p = check.promise
    among = {
        "answered": "the answers that it gives as they are",
        "shown": "the answers that it gives, hedged ones included",
    }
    said = f"at most {percent(p.max_error)} of {among[check.what]} will be wrong"
    if check.error is None:
        return f"Promised: {said}. On this run there are none, so nothing can be said of it."
    wrong = round(check.error.value * check.error.n)
    seen = f"{wrong} of {check.error.n} wrong, {percent_estimate(check.error)}, exact 95 % interval"
    verdict = {
        "kept": "Kept on this run",
        "exceeded within chance": "Exceeded on this run, though within chance (the interval holds the promised rate)",
        "broken": "Broken on this run: even the lower end of the interval is above the promised rate",
        "nothing to judge": "",
    }[check.verdict]
    own = " These are the questions on which the promise was found, so this is no test of it." if check.own_data else ""
    return f"Promised: {said}. {verdict}: {seen}.{own}"


def policy(check: PolicyCheck) -> str:
    """What a policy would have done, without a retriever."""
    done = check.outcome
    n = sum(done.actions.values())
    words: dict[Action, str] = {
        "answer": "answered",
        "hedge": "hedged",
        "abstain": "withheld",
        "ask_back": "asked back",
    }
    parts = [
        f"{done.actions[action]} {word}"
        for action, word in words.items()
        if action != "ask_back" or done.actions[action]
    ]
    text = f"Of {count(n, 'question')}: {', '.join(parts)}"
    if check.error is not None:
        text += f". Wrong among answered: {percent_estimate(check.error)}"
    if check.error_shown is not None and done.actions["hedge"]:
        text += f". Wrong among answered or hedged: {percent_estimate(check.error_shown)}"
    return text + "."


def cautions(
    report: Report | ClaimReport, run: GradedRun, origin: Provenance, others: Sequence[str] = ()
) -> tuple[str, ...]:
    """What a reader must know before believing the figures. others: about bench and SPS files."""
    found = []
    if not origin.questions:
        found.append(
            "The calibrator does not say which questions it was fitted on. If these are among them, every figure here flatters."
        )
    if not run.complete:
        found.append(
            f"The run holds {count(len(run.rows), 'question')} that are not all it was begun for: it was stopped, "
            f"or is still going."
        )
    asked = run.header.asking
    length = origin.generation.get("max_new_tokens")
    unlike = [
        name
        for name, here, there in (
            ("prompt", asked.prompt, origin.prompt),
            ("system message", asked.system, origin.system),
            ("token limit", asked.max_new_tokens, length if length is not None else asked.max_new_tokens),
        )
        if here != there
    ]
    if unlike:
        found.append(f"The questions were asked with another {' and another '.join(unlike)} than in calibration.")
    if report.unit == "answer" and run.grader != origin.grader:
        found.append(
            f"Graded by {run.grader!r} here and by {origin.grader!r} in calibration: right is not the same in both."
        )
    if len(report.correct) < SMALL:
        found.append(
            f"Only {count(len(report.correct), f'scored {report.unit}')}: the intervals are wide, and the figures can move "
            "a lot."
        )
    if report.unscored:
        found.append(
            f"{count(report.unscored, report.unit)} without a score: in no figure about confidence; every policy "
            f"sees them as unscored."
        )
    if report.out_of_range:
        found.append(
            f"{count(report.out_of_range, 'score')} outside the calibrated range: moved to its nearest end, so "
            f"little is known there."
        )
    if report.calibrator.familiarity is not None and not any(c.familiarity is not None for c in report.confidences):
        found.append(
            "The run does not hold what its questions look like, or asked them otherwise: whether they are like those of the "
            "calibration is not known here, and rules that ask for it do not match."
        )
    if strange := sum(c.familiar is False for c in report.confidences):
        what = count(strange, "question") if report.unit == "answer" else f"{count(strange, 'claim')} about questions"
        found.append(f"{what} unlike those of the calibration: extrapolated.")
    found += [f"{name.upper()}: {why}" for name, why in report.undefined.items()]
    for check in report.policies:
        proof = check.proof
        if proof is not None and proof.grader != run.grader:
            found.append(
                f"What policy {check.outcome.policy!r} promises is about {report.unit}s graded by {proof.grader!r}; here "
                f"they are graded by "
                f"{run.grader!r}."
            )
    return (*found, *others)


def unlike(run: RunAnswers, bench: BenchRecord | None) -> tuple[str, ...]:
    """What a comparison of scorers does not share with the run."""
    found = []
    if bench is not None and bench.data.hash != run.data:
        found.append(
            f"The comparison of scorers is on other data ({bench.data.name}, {bench.data.hash[:12]}…) than the "
            f"run ({run.data[:12]}…)."
        )
    if bench is not None and bench.grader != run.grader:
        found.append(f"The comparison of scorers was graded by {bench.grader!r}, the run by {run.grader!r}.")
    return tuple(found)
