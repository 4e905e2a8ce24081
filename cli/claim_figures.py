"""What tuning on claims found -> text on a terminal."""

from __future__ import annotations

from math import ceil
from pathlib import Path

from rich.console import Console
from rich.table import Table

from guardrail.calibration.claim_risk import ClaimControl
from guardrail.calibration.risk import fewest_answers
from guardrail.cli.figures import estimate
from guardrail.cli.render import escape
from guardrail.evaluation.claim_tuning import ClaimTuning
from guardrail.evaluation.kept_claims import Kept


def tuning(console: Console, value: ClaimTuning, output: Path) -> None:
    """What `guardrail tune --unit claim` found."""
    out = [f"{n} {reason.replace('_', ' ')}" for reason, n in value.left_out.items() if n]
    never = [f"{n} {what}" for n, what in ((value.out_of_range, "out of range"), (value.unlike, "unlike")) if n]
    console.print(f"questions  {value.questions}; answers with a claim that can be judged: {value.answers}")
    console.print(
        f"claims     {value.unguarded.claims}"
        + (f" (left out: {', '.join(out)})" if out else "")
        + (f"; {', '.join(never)}: never kept" if never else "")
    )
    console.print(f"answers that keep a wrong claim without a guard: {estimate(value.unguarded.lost)}")
    console.print(_tests(value.control))
    chosen, kept = value.control.chosen, value.kept
    if chosen is not None and kept is not None:
        console.print(
            f"[bold]kept[/]: p_correct >= {chosen.threshold:g}; {chosen.errors} of {chosen.n} answers keep a wrong claim "
            f"({chosen.errors / chosen.n:.3f}), bound {chosen.bound:.4f}"
        )
        console.print(f"claims kept {_retention(kept)}")
        if value.groups:
            console.print(_groups(value))
        console.print(f"holds {how(value.control)}\nwritten to {escape(str(output))}")


def unreachable(value: ClaimTuning) -> str:
    """What no threshold reaches, and what is reached."""
    control, best = value.control, value.control.best
    small = ""
    if (fewest := _fewest(control)) > value.answers:
        small = f"; {fewest} answers without one would be the fewest that can show it: take more questions"
    return (
        f"no threshold shows that at least {control.all_right:g} of the answers keep no wrong claim, {how(control)}; the best "
        f"that is shown is {1 - best.bound:.4f}, at p_correct >= {best.threshold:g} ({best.errors} of {best.n} answers keep "
        f"one, {best.kept} claims kept){small}"
    )


def how(control: ClaimControl) -> str:
    """In which sense the promise holds."""
    return "on average" if control.confidence is None else f"with confidence {control.confidence:g}"


def _fewest(control: ClaimControl) -> int:
    if control.confidence is None:
        return ceil(1 / (1 - control.all_right) - 1e-9) - 1  # (0 + 1) / (n + 1) at most 1 - all_right
    return fewest_answers(1 - control.all_right, 1 - control.confidence)


def _retention(kept: Kept) -> str:
    right = (
        f"; right ones {kept.right_kept} of {kept.right}, {estimate(kept.right_retention)}"
        if kept.right_retention
        else ""
    )
    return f"{kept.kept} of {kept.claims}, {estimate(kept.retention)}{right}"


def _tests(control: ClaimControl) -> Table:
    table = Table(
        title=f"Thresholds tested for at least {control.all_right:g} of the answers without a wrong claim",
        title_justify="left",
    )
    for heading in ("p_correct at least", "claims kept", "answers with a wrong one", "rate", "bound", ""):
        table.add_column(heading, justify="right")
    tests = control.tests
    first = min(3, len(tests))
    for i in sorted({*range(first), *range(max(0, len(tests) - 3), len(tests))}):
        if i == len(tests) - 3 > first:
            table.add_row(f"({i - first} more)", *[""] * 4, "pass")
        t = tests[i]
        table.add_row(
            f"{t.threshold:g}",
            str(t.kept),
            f"{t.errors}/{t.n}",
            f"{t.errors / t.n:.3f}",
            f"{t.bound:.4f}",
            "pass" if t.passed else "fail",
        )
    return table


def _groups(value: ClaimTuning) -> Table:
    table = Table(title="By kind of question; the promise is about all of them together", title_justify="left")
    for heading in ("kind", "answers", "with a wrong claim kept", "claims kept", "of all", "of the right ones"):
        table.add_column(heading, justify="left" if heading == "kind" else "right")
    for name, kept in value.groups.items():
        table.add_row(
            escape(name or "not named"),
            str(kept.lost.n),
            estimate(kept.lost),
            str(kept.kept),
            f"{kept.retention.value:.3f}",
            f"{kept.right_retention.value:.3f}" if kept.right_retention else "none right",
        )
    return table
