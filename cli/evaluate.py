"""`guardrail evaluate`: a calibrator on questions it has not seen."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from guardrail.cli import options
from guardrail.json_text import dumps_for


def evaluate(
    data: Annotated[
        str,
        typer.Argument(
            metavar="DATA",
            help="Rows of `question` and `answers` (accepted forms), .jsonl, .csv or .tsv, or hub:NAME@SPLIT; for claims, of "
            "`question` and `facts`, or labelled `claims` of an `answer`, .jsonl. 'bundled': the bundled held-out questions.",
        ),
    ],
    calibrator: Annotated[
        Path | None,
        typer.Option(
            "--calibrator",
            "-c",
            metavar="FILE|shipped:NAME",
            help="From `guardrail calibrate`. Default: the shipped one.",
        ),
    ] = None,
    unit: options.Unit = "answer",
    model: options.Model = options.DEFAULT_MODEL,
    policy: Annotated[
        list[str] | None, typer.Option("--policy", "-p", metavar="NAME|FILE", help="Repeatable. Default: all shipped.")
    ] = None,
    grader: options.Grader = None,
    labels: options.Labels = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Use at most N questions.")] = None,
    run: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Keep the answers here, so that --resume can.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run file.")] = False,
    batch_size: Annotated[int, typer.Option(min=1, help="Questions answered together.")] = 16,
    cache: options.Cache = True,
    chat_template: options.ChatTemplate = None,
    chat_template_kwargs: options.TemplateSwitches = None,
    device: options.Device = None,
    dtype: options.Dtype = None,
    as_json: options.Json = False,
) -> None:
    """AUROC, AURC, Brier, ECE, accuracy and top labels with 95 % intervals, and what policies would have done.

    With --unit claim, by claim, against one score for the whole answer.
    """
    from guardrail.cli import runtime
    from guardrail.evaluation.evaluate import evaluate as measure

    result = measure(
        lambda: runtime.load(model, device, dtype, chat_template, chat_template_kwargs),
        data,
        calibrator,
        policy or None,
        unit=unit,
        grader=grader,
        labels=labels,
        limit=limit,
        run=run,
        resume=resume,
        cache=cache,
        batch_size=batch_size,
        progress=runtime.say,
    )
    if as_json:
        typer.echo(dumps_for(sys.stdout, result.to_dict()))
    else:
        from guardrail.cli import figures

        figures.assessment(runtime.console(), result)
