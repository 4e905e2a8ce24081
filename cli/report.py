"""`guardrail report`: a finished run -> one HTML page that says what a calibrator and a policy are worth on it."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from guardrail.cli import options

if TYPE_CHECKING:
    from guardrail.evaluation.bench_file import Bench
    from guardrail.evaluation.report import Report
    from guardrail.runs.run_answers import RunAnswers


def report(
    run: Annotated[
        Path,
        typer.Argument(
            metavar="RUN.jsonl",
            help="The run file of guardrail evaluate (--run) or tune: on questions the calibrator has not seen.",
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="Where to write the page.")],
    calibrator: options.Calibrator = None,
    policy: Annotated[
        list[str] | None,
        typer.Option(
            "--policy", "-p", metavar="NAME|FILE", help="Repeatable: what it would have done, and what it promises."
        ),
    ] = None,
    bench: Annotated[Path | None, typer.Option(metavar="FILE", help="From guardrail bench: scorers compared.")] = None,
    sps: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="From guardrail sps: where the model keeps a question's meaning."),
    ] = None,
    grader: Annotated[str | None, typer.Option(metavar="KIND", help="Default: the calibrator's.")] = None,
    title: Annotated[str, typer.Option(metavar="TEXT", help="The page's title. Default: it names the model.")] = "",
    as_json: options.Json = False,
) -> None:
    """Reliability, risk and coverage, scores, examples and provenance on one page that loads nothing. No model is loaded."""
    from guardrail.calibration.shipped import load_calibrator, shipped_calibrator
    from guardrail.calibration.sps_profile import SpsProfile
    from guardrail.cli.claims import check_page
    from guardrail.errors import CalibrationError, DataError
    from guardrail.evaluation.bench_file import load_bench
    from guardrail.evaluation.report import report as measure
    from guardrail.files import write_whole
    from guardrail.grading import get_grader
    from guardrail.html.report import report_page
    from guardrail.policy import Policy, check_proof
    from guardrail.runs.run_answers import check_fits, check_same_model, header_of, load_run

    check_page(output)
    inputs = [run, calibrator, bench, sps, *(Path(name) for name in policy or [])]
    if any(path is not None and path.resolve() == output.resolve() for path in inputs):
        raise DataError(f"the output {str(output)!r} is one of the inputs; give another file")
    policies = [Policy.load(name) for name in policy or []]
    compared = load_bench(bench) if bench else None
    meaning = SpsProfile.load(sps) if sps else None
    name, fitted = str(calibrator), load_calibrator(calibrator) if calibrator else None
    if fitted is None:
        shipped = shipped_calibrator(header_of(run).identity("the model of the run"))
        if shipped is None:
            raise CalibrationError(f"no calibrator is shipped for the model of {run}; give one with --calibrator FILE")
        name, fitted = shipped
    if fitted.provenance is None:
        raise CalibrationError(f"{name} does not say what it was fitted on; make it with guardrail calibrate")
    loaded = load_run(run, get_grader(grader or fitted.provenance.grader))
    check_fits(loaded, fitted, name)
    for one in policies:
        check_proof(one.proof, one.name, fitted, name)
    if compared is not None:
        check_same_model(loaded, compared.model, str(bench))
    if meaning is not None:
        check_same_model(loaded, meaning.model.model_dump(), str(sps))
    found = measure(fitted, loaded.answers, policies, data=loaded.data)
    text = report_page(
        found,
        loaded,
        calibrator=name,
        bench=compared,
        sps=meaning,
        title=title,
        command=shlex.join(["guardrail", *sys.argv[1:]]),
    )
    write_whole(output, text, "the report", DataError)
    if as_json:
        typer.echo(json.dumps({"run": str(run), "calibrator": name, "grader": loaded.grader, **found.to_dict()}))
        return
    _show(found, loaded, compared, output)


def _show(value: Report, run: RunAnswers, bench: Bench | None, output: Path) -> None:
    """The page in short, on the terminal."""
    from guardrail.cli.render import escape
    from guardrail.cli.runtime import console
    from guardrail.html.report_words import cautions, policy, promise, summary, unlike

    out = console()
    for line in summary(value, run):
        out.print(escape(line))
    for check in value.policies:
        out.print(f"[bold]{escape(check.outcome.policy)}[/]: {escape(policy(check))}")
        for one in check.promises:
            out.print(escape(promise(one)))
    if value.calibrator.provenance:
        for line in cautions(value, run, value.calibrator.provenance, unlike(run, bench)):
            out.print(f"note: {escape(line)}")
    out.print(f"written to {output}, {output.stat().st_size / 1024:.0f} KiB")
