"""What fitting and evaluating found -> text on a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from guardrail.calibration.metrics import Estimate, ReliabilityBin
from guardrail.calibration.origin import through_of
from guardrail.calibration.profiles import Selection
from guardrail.calibration.risk import RiskControl, fewest_answers
from guardrail.calibration.stacking import Stacking
from guardrail.cli.render import escape
from guardrail.cli.tables import claim_policies, contexts, controls, label_errors, risks, with_evidence
from guardrail.evaluation.assess import Assessment, PolicyOutcome
from guardrail.evaluation.assess_claims import ClaimAssessment, ClaimOutcome
from guardrail.evaluation.fit import Fit
from guardrail.evaluation.recalibrate import Recalibration
from guardrail.evaluation.tuning import Tuning

_LONGEST = 100  # characters of a scorer's option that is shown


def estimate(e: Estimate) -> str:
    """`0.752 (0.713 to 0.790)`."""
    return f"{e.value:.3f} ({e.low:.3f} to {e.high:.3f})"


def reliability(bins: Sequence[ReliabilityBin], what: str) -> Table:
    """Said against seen: answers or claims by the probability they were given."""
    table = Table(title="Reliability: what was said against what was right", title_justify="left")
    for heading in ("said", "mean said", "right", "95 % interval", what):
        table.add_column(heading, justify="right")
    for b in bins:
        seen = b.accuracy
        table.add_row(
            f"{b.low:.1f} to {b.high:.1f}",
            f"{b.mean_p:.3f}",
            f"{seen.value:.3f}",
            f"{seen.low:.3f} to {seen.high:.3f}",
            str(seen.n),
        )
    return table


def fit(console: Console, value: Fit, output: Path) -> None:
    """What `guardrail calibrate` found."""
    out = ", ".join(f"{n} {reason.replace('_', ' ')}" for reason, n in value.left_out.items() if n)
    of = f" of {value.answers} answers" if value.unit == "claim" else ""
    console.print(f"{value.unit + 's scored':15} {value.n}{of}" + (f" ({escape(out)})" if out else ""))
    console.print(f"accuracy        {estimate(value.metrics['accuracy'])}")
    console.print(f"AUROC           {estimate(value.metrics['auroc'])}")
    before = "not known: the endpoint does not tell" if value.ece_before is None else f"{estimate(value.ece_before)}  "
    console.print(f"ECE before      {before} of exp(-nll / length), the model's own probability")
    console.print(f"ECE after       {estimate(value.metrics['ece'])}   cross-validated, as is AUROC")
    console.print(f"Brier           {estimate(value.metrics['brier'])}")
    origin = value.calibrator.provenance
    if value.selection is not None:
        _profile(console, value.selection)
    elif origin is not None:
        plain = "" if value.stacking and value.stacking.adopted else _options(origin.scorer_options)
        console.print(f"scorer          {escape(origin.scorer)}{plain}")
    if value.stacking is not None:
        _stacking(console, value.stacking)
    if value.baseline is not None:
        console.print(
            f"whole answer    AUROC {estimate(value.baseline.auroc)} where each claim has its answer's score; "
            f"by claim minus that: "
            f"{estimate(value.baseline.difference)}"
        )
    _questions(console, value)
    console.print(reliability(value.reliability, f"{value.unit}s"))
    console.print(risks(value.risks, f"{value.unit}s"))
    controls(console, value.controls, what="question and answer" if value.unit == "answer" else "question and claim")
    label_errors(console, value.label_errors)
    if answered := [p for p in value.policies if isinstance(p, PolicyOutcome)]:
        console.print(_policies(answered))
    elif kept := [p for p in value.policies if isinstance(p, ClaimOutcome)]:
        console.print(claim_policies(kept))
    if value.evidence is not None:
        with_evidence(console, value.evidence)
    chain = through_of(origin)
    if chain is not None:
        contexts(console, value.calibrator.contexts, value.few_contexts)
    console.print(f"written to {escape(str(output))}")
    if value.unit == "answer" and chain is None:
        console.print("The bounds of the shipped policies are 0.50 and 0.30; for a stated error, with other questions:")
        console.print(
            f"  guardrail tune OTHER.jsonl -c {escape(str(output))} --max-error 0.1 -o policy.yaml --model MODEL"
        )


def recalibration(console: Console, value: Recalibration, output: Path) -> None:
    """What `guardrail recalibrate` found."""
    of = f" of {value.answers} answers" if value.unit == "claim" else ""
    console.print(f"lines       {value.lines}, {value.unreadable} unreadable")
    for what, n in value.left_out.items():
        console.print(f"            {n} {escape(what)}")
    console.print(f"labelled    {value.n} {value.unit}s{of}")
    console.print(f"accuracy    {estimate(value.after['accuracy'])}")
    for name, title in (("auroc", "AUROC"), ("ece", "ECE"), ("brier", "Brier")):
        console.print(f"{title:11} {estimate(value.before[name])} before, {estimate(value.after[name])} after")
    console.print(f"            ECE after minus before {estimate(value.ece_difference)}; after is cross-validated")
    for line in value.notes:
        console.print(f"  note: {escape(line)}")
    console.print(reliability(value.reliability, f"{value.unit}s"))
    console.print(f"written to {escape(str(output))}")


def _profile(console: Console, s: Selection) -> None:
    profile = s.profile
    how = "eq. 6" if profile.alpha is None else f"alpha {profile.alpha:g}"
    console.print(
        f"profile         token {profile.token} ({escape(profile.token_source)}), band {escape(str(profile.band))}, "
        f"{profile.reduction}, {profile.scale} scale, {how}"
    )
    if s.difference is not None:
        verdict_ = "adopted" if s.adopted else "not adopted: no better than chance would make it"
        console.print(
            f"                chosen by cross-validation: AUROC {s.auroc_chosen:.3f} against {s.auroc_prior:.3f} for the "
            f"paper's formula at the template's token; difference {estimate(s.difference)}: {verdict_}"
        )


def _questions(console: Console, value: Fit) -> None:
    """What the calibrator knows of its questions."""
    known = value.calibrator.familiarity
    if known is None:
        console.print("questions       too few to tell others from: no question will be called unlike them")
    elif known.retained is None:
        console.print("questions       all of one kind: how far accuracy falls on others is not known")
    else:
        console.print(
            f"questions       of what is said, {known.retained:.2f} is true of a kind that was left out, on average; "
            f"{known.lowest:.2f} of the worst"
        )
    if value.few:
        few = ", ".join(f"{escape(kind)} ({n})" for kind, n in value.few.items())
        console.print(f"                too few of these kinds to know: {few}")


def _stacking(console: Console, s: Stacking) -> None:
    """The evidence for the stacked scorer or against it, and what it weighs."""
    singles = ", ".join(f"{escape(name)} {value:.3f}" for name, value in s.auroc_singles.items())
    outcome = (
        "adopted" if s.adopted else f"not adopted, no better than chance would make it: {escape(s.single)} is used"
    )
    console.print(f"stacked         AUROC {s.auroc_stacked:.3f}, cross-validated; single scorers: {singles}")
    console.print(f"                stacked minus {escape(s.single)}: {estimate(s.difference)}: {outcome}")
    table = Table(title="What the stacked scorer weighs, all higher = more uncertain", title_justify="left")
    for heading in ("feature", "weight", "lowest", "median", "highest"):
        table.add_column(heading, justify="left" if heading == "feature" else "right")
    for f in sorted(s.model.features, key=lambda f: -f.weight):
        q = f.quantiles
        table.add_row(escape(f.name), f"{f.weight:.3f}", *(f"{x:.3g}" for x in (q[0], q[len(q) // 2], q[-1])))
    console.print(table)


def _options(options: Mapping[str, Any]) -> str:
    """`, samples 10, temperature 1.0`: those that are plain values, and no arrays as text."""
    plain = {k: v for k, v in options.items() if not isinstance(v, (dict, list)) and len(str(v)) <= _LONGEST}
    return "".join(f", {escape(key.replace('_', ' '))} {escape(str(value))}" for key, value in plain.items())


def assessment(console: Console, value: Assessment | ClaimAssessment) -> None:
    """What `guardrail evaluate` found."""
    if isinstance(value, ClaimAssessment):
        _claims(console, value)
        return
    out = f", {value.out_of_range} outside the calibrated range" if value.out_of_range else ""
    console.print(f"answers    {value.n} ({value.unscored} unscored{out})")
    _unlike(console, value)
    _metrics(console, value, "answers")
    controls(console, value.controls)
    label_errors(console, value.label_errors)
    console.print(_policies(value.policies))
    console.print(f"wrong without a guard: {estimate(value.error_unguarded)}")
    if value.evidence is not None:
        with_evidence(console, value.evidence)


def _policies(found: Sequence[PolicyOutcome]) -> Table:
    table = Table(title="What each policy would have done, without a retriever", title_justify="left")
    for heading in ("policy", "answer", "hedge", "abstain", "shown", "wrong among answered", "wrong among shown"):
        table.add_column(heading, justify="left" if heading == "policy" else "right")
    for p in found:
        a = p.actions
        table.add_row(
            escape(p.policy),
            str(a["answer"]),
            str(a["hedge"]),
            str(a["abstain"]),
            f"{p.coverage.value:.3f}",
            estimate(p.error) if p.error else "none answered",
            estimate(p.error_shown) if p.error_shown else "none shown",
        )
    return table


def tuning(console: Console, value: Tuning, output: Path) -> None:
    """What `guardrail tune` found: the last tests of each search, where it was decided."""
    out = ", ".join(
        f"{n} {what}"
        for n, what in (
            (value.unscored, "unscored"),
            (value.out_of_range, "out of range"),
            (value.unlike, "unlike the calibration's"),
        )
        if n
    )
    console.print(f"questions  {value.questions}" + (f" ({out}: never answered)" if out else ""))
    console.print(f"wrong without a guard: {estimate(value.error_unguarded)}")
    for what, control in value.controls:
        console.print(_tests(what, control))
        if (chosen := control.chosen) is not None:
            console.print(
                f"[bold]{what}[/]: p_correct >= {chosen.threshold:g}; {chosen.errors} of {chosen.n} wrong "
                f"({chosen.errors / chosen.n:.3f}), bound {chosen.bound:.4f}; coverage {estimate(control.coverage(chosen))}"
            )
    if value.reached:
        if value.shown is not None and not value.hedges:
            console.print("no answer is hedged: both targets have the same threshold")
        console.print(
            f"both hold with confidence {value.confidence:g}"
            if value.hedges
            else f"holds with confidence {value.confidence:g}"
        )
        console.print(f"written to {escape(str(output))}")


def unreachable(value: Tuning) -> str:
    """Which target no threshold reaches, and what is reached."""
    what, control = next((what, control) for what, control in value.controls if control.chosen is None)
    best = control.best
    among = {"answered": "answered", "shown": "answered and hedged"}[what]
    small = ""
    if all(test.n < fewest_answers(control.max_error, test.level) for test in control.tests):
        small = (
            f"; {fewest_answers(control.max_error, best.level)} answers without one error would be the fewest that can show "
            "it: take more questions"
        )
    return (
        f"no threshold shows at most {control.max_error:g} wrong among {among} questions with confidence {value.confidence:g}; "
        f"the best that is shown is {best.bound:.4f}, at p_correct >= {best.threshold:g} ({best.errors} of {best.n} wrong, "
        f"coverage {control.coverage(best).value:.3f}){small}"
    )


def _tests(what: str, control: RiskControl) -> Table:
    table = Table(title=f"Thresholds tested for at most {control.max_error:g} wrong among {what}", title_justify="left")
    for heading in ("p_correct at least", "coverage", "95 % interval", "wrong", "rate", "level", "bound", ""):
        table.add_column(heading, justify="right")
    shown = [i for i, t in enumerate(control.tests) if not t.passed or t in (control.chosen, control.tests[0])]
    before = -1
    for i in sorted({*shown, len(control.tests) - 1}):
        if i > before + 1:
            table.add_row(f"({i - before - 1} more)", *[""] * 6, "pass")
        test, before = control.tests[i], i
        c = control.coverage(test)
        table.add_row(
            f"{test.threshold:g}",
            f"{c.value:.3f}",
            f"{c.low:.3f} to {c.high:.3f}",
            f"{test.errors}/{test.n}",
            f"{test.errors / test.n:.3f}" if test.n else "",
            f"{test.level:.4f}",
            f"{test.bound:.4f}",
            "pass" if test.passed else "fail",
        )
    return table


def _metrics(console: Console, value: Assessment | ClaimAssessment, what: str) -> None:
    for name, title in (
        ("accuracy", "accuracy"),
        ("auroc", "AUROC"),
        ("aurc", "AURC"),
        ("brier", "Brier"),
        ("ece", "ECE"),
    ):
        console.print(f"{title:10} {estimate(value.metrics[name])}")
    console.print(f"skill      {estimate(value.metrics['brier_skill'])} of Brier's score, over the base rate's")
    top = value.top_labels
    right = f"{estimate(top.accuracy)} of them right" if top.accuracy else "none"
    console.print(f"high and very high: {estimate(top.share)} of the {what}, {right}")
    console.print(reliability(value.reliability, what))


def _unlike(console: Console, value: Assessment | ClaimAssessment) -> None:
    if value.unlike is not None:
        console.print(f"unlike     {estimate(value.unlike)} of the questions; those of the calibration: at most 0.05")
        if (told := value.ece_calibrated) is not None:
            console.print(f"calibrated {told.n} are still called that; ECE {estimate(told)}")
            if isinstance(value, Assessment) and value.ece_by_chance:
                console.print(f"           a true curve would show {estimate(value.ece_by_chance)} on so many")


def _claims(console: Console, value: ClaimAssessment) -> None:
    out = ", ".join(f"{n} {reason.replace('_', ' ')}" for reason, n in value.left_out.items() if n)
    if value.out_of_range:
        out = ", ".join(filter(None, [out, f"{value.out_of_range} outside the calibrated range"]))
    console.print(f"claims     {value.n} of {value.answers} answers" + (f" ({escape(out)})" if out else ""))
    _unlike(console, value)
    _metrics(console, value, "claims")
    console.print("[bold]If every claim had its whole answer's score[/]")
    console.print(f"AUROC      {estimate(value.whole_auroc)}; by claim minus that: {estimate(value.difference)}")
    console.print(f"AURC       {estimate(value.whole_aurc)}")
    controls(console, value.controls, what="question and claim")
    console.print(claim_policies(value.policies))
