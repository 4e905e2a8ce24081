"""`guardrail bench`: every scorer side by side, on the same answers."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from guardrail.cli import options
from guardrail.cli.render import echo
from guardrail.json_text import dumps_for


def bench(
    data: Annotated[
        str,
        typer.Argument(
            metavar="DATA.jsonl",
            help="Rows of `question` and `answers` (accepted forms). 'bundled': the bundled held-out questions.",
        ),
    ],
    scorers: Annotated[
        str,
        typer.Option(
            metavar="all|NAME,NAME",
            help="Which ones: all (but those that read a reply), or some by name; hybridgrad is always there.",
        ),
    ] = "all",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write the figures here, as JSON.")
    ] = None,
    table: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the table here, as Markdown.")] = None,
    model: options.Model = options.DEFAULT_MODEL,
    calibrator: Annotated[
        Path | None,
        typer.Option(
            "--calibrator",
            "-c",
            metavar="FILE|shipped:NAME",
            help="Its scorer, with the profile it was fitted with, gets a row of its own; its prompt is the default.",
        ),
    ] = None,
    grader: Annotated[str | None, typer.Option(metavar="KIND", help="Default: the calibrator's, else alias.")] = None,
    limit: options.Limit = None,
    resume: options.Resume = False,
    run: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The run's file. Default: OUTPUT.run.jsonl, none without --output."),
    ] = None,
    samples: options.Samples = None,
    max_new_tokens: Annotated[
        int | None,
        typer.Option(min=1, help="Longest answer and sample, in tokens. Default: the calibrator's, else 64."),
    ] = None,
    prompt: Annotated[
        str | None,
        typer.Option(
            metavar="TEXT", help="How to ask; {question} is filled in. Default: the calibrator's, else for a few words."
        ),
    ] = None,
    system: options.System = None,
    chat_template: options.ChatTemplate = None,
    chat_template_kwargs: options.TemplateSwitches = None,
    device: options.Device = None,
    dtype: options.Dtype = None,
    ray: options.Ray = None,
    workers: options.WorkerCount = None,
    worker_cpus: options.WorkerCpus = None,
    worker_gpus: options.WorkerGpus = None,
    as_json: options.Json = False,
) -> None:
    """AUROC, AURC and PRR of each scorer with 95 % intervals, its difference from HybridGrad, its time and its memory.

    One answer at a time, so that the times are those of a scorer alone. Stopped at any moment, `--resume` goes on where it was.
    """
    from guardrail.cli import runtime
    from guardrail.evaluation.compare import bench as compare

    found = compare(
        lambda: runtime.load(model, device, dtype, chat_template, chat_template_kwargs),
        data,
        scorers,
        output=output,
        table=table,
        calibrator=calibrator,
        grader=grader,
        limit=limit,
        resume=resume,
        run=run,
        samples=samples,
        max_new_tokens=max_new_tokens,
        prompt=prompt,
        system=system,
        command=runtime.command(),
        cluster=runtime.cluster(ray, workers, worker_cpus, worker_gpus),
        progress=runtime.say,
    )
    if as_json:
        typer.echo(dumps_for(sys.stdout, found.to_dict()))
        return
    from guardrail.cli import bench_table

    bench_table.show(runtime.console(), found)
    for path in (output, table):
        if path is not None:
            echo(f"written to {path}")
