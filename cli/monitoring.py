"""What monitoring found -> text on a terminal."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console
from rich.table import Table

from guardrail.calibration.metrics import Estimate
from guardrail.cli.figures import estimate, reliability
from guardrail.cli.render import escape
from guardrail.monitoring import Monitoring
from guardrail.monitoring.findings import Period

_COLOURS = {"no sign of drift": "green", "too few data": "yellow", "drift: recalibrate": "red"}


def show(console: Console, value: Monitoring) -> None:
    """The verdict and why, then what it rests on."""
    console.print(f"[bold {_COLOURS[value.verdict]}]{value.verdict}[/]")
    for line in value.reasons:
        console.print(f"  {escape(line)}")
    for line in value.notes:
        console.print(f"  note: {escape(line)}")
    console.print()
    of = f" ({_counts(value.models)}; calibrator {_counts(value.calibrators)})" if value.models else ""
    console.print(f"lines       {value.lines}, {value.unreadable} unreadable{of}")
    for what, n in value.set_aside.items():
        console.print(f"            {n} {escape(what)}")
    console.print(f"{value.unit + 's':11} {value.n} scored, against {value.calibrated} of the calibration")
    if value.unscored:
        before = f"; {estimate(value.unscored_before)} in the calibration" if value.unscored_before else ""
        console.print(f"unscored    {estimate(value.unscored)}{before}")
    if value.extrapolated:
        console.print(f"asked otherwise than in the calibration: {estimate(value.extrapolated)}")
    if value.unlike:
        console.print(f"questions unlike those of the calibration: {estimate(value.unlike)}")
    _scores(console, value)
    _calibration(console, value)
    for risk in value.risks:
        if risk.error is None:
            console.print(f"{risk.what:11} {risk.total}, no label")
            continue
        promise = f"; promise at most {risk.max_error:g}: {value.statuses[risk.what]}" if risk.max_error else ""
        wrong = "with a wrong claim kept" if risk.what == "answers" else "wrong"
        more = f", {risk.more_labels} more labels would settle it at this rate" if risk.more_labels else ""
        console.print(
            f"{risk.what:11} {risk.errors} of {risk.n} labelled {wrong}, {estimate(risk.error)}; {risk.total} in all"
            f"{promise}{more}"
        )
    if value.p_values:
        tests = ", ".join(f"{escape(name)} {p:.3g}" for name, p in value.p_values.items())
        console.print(f"p-values    {tests} (corrected together; drift at {value.false_alarms:g})")
    if len(value.periods) > 1:
        console.print(_periods(value.periods, value.unit))


def _scores(console: Console, value: Monitoring) -> None:
    found = value.scores
    if found is None:
        return
    console.print(
        f"scores      P(log > calibration) {estimate(found.higher)}, 0.5 without drift; p = {found.p_value:.3g}"
    )
    console.print(
        f"            PSI {estimate(found.psi)}, {found.psi_raw:.3f} before correction for n, which would stay below "
        f"{found.psi_by_chance:.3f} by chance"
    )
    console.print(
        f"            outside the calibrated range {estimate(found.outside)}; p = {found.outside_p_value:.3g}"
    )


def _calibration(console: Console, value: Monitoring) -> None:
    found = value.calibration
    if found is None:
        console.print(f"confidence  {value.labelled} labels, too few to compare")
        return
    console.print(
        f"confidence  said {found.said:.3f}, right {found.seen:.3f} of {found.n} labelled: difference "
        f"{estimate(found.gap)}; p = {found.gap_p_value:.3g}"
    )
    if found.slope is not None and found.slope_p_value is not None:
        console.print(f"            slope {estimate(found.slope)}, 1 as calibrated; p = {found.slope_p_value:.3g}")
    console.print(f"            ECE {estimate(found.ece)}")
    console.print(reliability(found.reliability, f"{value.unit}s"))


def _periods(periods: Iterable[Period], unit: str) -> Table:
    table = Table(title="By day, or by week from Monday (UTC); not tested one by one", title_justify="left")
    for heading in ("from", f"{unit}s", "said", "shown", "labels", "said", "right", "shown: wrong"):
        table.add_column(heading, justify="right", no_wrap=True)
    for p in periods:
        table.add_row(
            p.start.isoformat(),
            str(p.n),
            "" if p.said is None else f"{p.said:.2f}",
            f"{p.shown.value:.2f}" if p.shown else "",
            str(p.labelled),
            "" if p.said_labelled is None else f"{p.said_labelled:.2f}",
            _short(p.right),
            _short(p.wrong_shown),
        )
    return table


def _short(e: Estimate | None) -> str:
    return f"{e.value:.2f} ({e.low:.2f} to {e.high:.2f})" if e else ""


def _counts(names: dict[str, int]) -> str:
    if len(names) == 1:
        return escape(next(iter(names)))
    return ", ".join(f"{escape(name)} {n}" for name, n in sorted(names.items(), key=lambda item: -item[1])[:5])
