"""`guardrail report`: a finished run -> one HTML page that says what a calibrator and a policy are worth on it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from guardrail.cli import options
from guardrail.errors import DataError
from guardrail.json_text import dumps_for

if TYPE_CHECKING:
    from guardrail.pages import RunReport


def report(
    run: Annotated[
        Path,
        typer.Argument(
            metavar="RUN.jsonl",
            help="The run file of guardrail evaluate (--run) or tune, also --through a chain: on questions the calibrator has "
            "not seen.",
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
    unit: options.Unit = "answer",
    data: Annotated[
        Path | None,
        typer.Option(
            metavar="DATA.jsonl",
            help="With --unit claim: what the run asked, whose facts and labels grade it; 'bundled': the bundled held-out "
            "questions for claims.",
        ),
    ] = None,
    bench: Annotated[Path | None, typer.Option(metavar="FILE", help="From guardrail bench: scorers compared.")] = None,
    sps: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="From guardrail sps: where the model keeps a question's meaning."),
    ] = None,
    grader: Annotated[str | None, typer.Option(metavar="KIND", help="Default: the calibrator's.")] = None,
    title: Annotated[str, typer.Option(metavar="TEXT", help="The page's title. Default: it names the model.")] = "",
    through: Annotated[str | None, typer.Option(metavar="FILE.py:NAME", hidden=True)] = None,
    as_json: options.Json = False,
) -> None:
    """Reliability, risk and coverage, scores, examples and provenance on one page that loads nothing.

    The model that answered is not loaded.
    """
    from guardrail.cli import runtime
    from guardrail.pages import report as make

    if through is not None:
        raise DataError(
            f"a report asks nothing; ask first: guardrail evaluate DATA.jsonl --through {through} --run RUN.jsonl, and then: "
            "guardrail report RUN.jsonl -o report.html"
        )

    found = make(
        run,
        output,
        calibrator=calibrator,
        policies=policy or (),
        unit=unit,
        data=data,
        bench=bench,
        sps=sps,
        grader=grader,
        title=title,
        command=runtime.command(),
    )
    if as_json:
        typer.echo(dumps_for(sys.stdout, found.to_dict()))
    else:
        _show(found, output)


def _show(found: RunReport, output: Path) -> None:
    """The page in short, on the terminal."""
    from guardrail.cli.render import escape
    from guardrail.cli.runtime import console
    from guardrail.evaluation.report import Report
    from guardrail.html.report_claims import claim_policy, claim_promises, claim_summary
    from guardrail.html.report_words import cautions, policy, promise, summary, unlike
    from guardrail.runs.run_answers import RunAnswers
    from guardrail.runs.run_claims import RunClaims

    out, value, run = console(), found.figures, found.run
    done: list[tuple[str, str, list[str]]] = []
    others: tuple[str, ...] = ()
    if isinstance(value, Report) and isinstance(run, RunAnswers):
        lines, others = summary(value, run), unlike(run, found.bench)
        done = [(check.outcome.policy, policy(check), list(map(promise, check.promises))) for check in value.policies]
    elif not isinstance(value, Report) and isinstance(run, RunClaims):
        lines = claim_summary(value, run)
        for check in value.policies:
            done.append((check.outcome.policy, claim_policy(check), [text for _, text in claim_promises(check)]))
    for line in lines:
        out.print(escape(line))
    for name, text, promises in done:
        out.print(f"[bold]{escape(name)}[/]: {escape(text)}")
        for one in promises:
            out.print(escape(one))
    if value.calibrator.provenance:
        for line in cautions(value, run, value.calibrator.provenance, others):
            out.print(f"note: {escape(line)}")
    out.print(f"written to {escape(str(output))}, {output.stat().st_size / 1024:.0f} KiB")
