"""`guardrail bench`: every scorer side by side, on the same answers."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from guardrail.cli import bench_distillation, options
from guardrail.cli.render import echo
from guardrail.json_text import dumps_for


def bench(
    data: Annotated[
        str,
        typer.Argument(
            metavar="DATA.jsonl",
            help="Rows of `question` and `answers` (accepted forms). 'bundled': the bundled held-out questions; "
            "'bundled-lists': those of several answers.",
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
    suite: Annotated[
        Literal["scorers", "distillation"],
        typer.Option(
            help="distillation: the evaluation of Uncertainty Distillation, on five bins: adapters beside what is asked, "
            "sampled or fitted."
        ),
    ] = "scorers",
    adapter: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=DIR", help="Suite distillation: an adapter of MODEL that states its confidence; any number."
        ),
    ] = None,
    fit: Annotated[
        str | None,
        typer.Option(
            metavar="DATA",
            help="Suite distillation: what is fitted is fitted on these. Default: the bundled calibration questions.",
        ),
    ] = None,
    fit_limit: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Suite distillation: at most N of those.")
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.png",
            help="Draw the curves of --escalate-to, or of the suite distillation the accuracy by bin (extra plots).",
        ),
    ] = None,
    model: options.Model = options.DEFAULT_MODEL,
    score_with: options.ScoreWith = None,
    calibrator: Annotated[
        list[str] | None,
        typer.Option(
            "--calibrator",
            "-c",
            metavar="FILE|shipped:NAME",
            help="Its scorer, as it was fitted, gets a row of its own. Repeatable; the first one's prompt is the default.",
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
    equivalence: options.Equivalence = None,
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
    escalate_to: Annotated[
        str | None,
        typer.Option(
            metavar="SPEC",
            help="A second model, as for --model, that is asked every question too: accuracy against the share that it is "
            "asked, least sure first, beside a random order and asking it always.",
        ),
    ] = None,
    cost_per_call: Annotated[
        float | None, typer.Option(min=0, help="With --escalate-to: of an answer of the first model. Default: 0.")
    ] = None,
    cost_of_second: Annotated[
        float | None, typer.Option(min=0, help="Of an answer of the second model, in the same unit. Default: 1.")
    ] = None,
    device: options.Device = None,
    dtype: options.Dtype = None,
    ray: options.Ray = None,
    workers: options.WorkerCount = None,
    worker_cpus: options.WorkerCpus = None,
    worker_gpus: options.WorkerGpus = None,
    as_json: options.Json = False,
) -> None:
    """AUROC, AURC and PRR of each scorer with 95 % intervals, its difference from HybridGrad, its time and its memory.

    One answer at a time, so that the times are those of a scorer alone. With --escalate-to: what asking a second model about
    the least sure ones is worth. Stopped at any moment, `--resume` goes on where it was.
    """
    from guardrail.cli import runtime
    from guardrail.errors import DataError

    if suite == "distillation":
        if scorers != "all" or calibrator is not None:
            raise DataError(
                "--suite distillation has its own scorers and calibrators; leave --scorers and --calibrator out"
            )
        bench_distillation.run(
            lambda: runtime.load(model, device, dtype, chat_template, chat_template_kwargs, score_with), data, adapter or [],
            table=table, plot=plot, as_json=as_json, fit=fit or "bundled", fit_limit=fit_limit, output=output, grader=grader,
            limit=limit, resume=resume, run=run, samples=samples, max_new_tokens=max_new_tokens, prompt=prompt, system=system,
        )  # fmt: skip
        return
    if escalate_to is None and (cost_per_call is not None or cost_of_second is not None):
        raise DataError("costs need a second model: --escalate-to SPEC; add it, or leave them out")
    if plot is not None and escalate_to is None:
        raise DataError(
            "--plot draws the curves of --escalate-to SPEC, or --suite distillation; add one, or leave it out"
        )
    alone = {"--adapter": adapter, "--fit": fit, "--fit-limit": fit_limit}
    if given := next((name for name, value in alone.items() if value), None):
        raise DataError(f"{given} is for --suite distillation; add that, or leave {given} out")
    from guardrail.evaluation.compare import bench as compare

    if plot is not None:
        from guardrail.evaluation.cascade import SHARES, drawn_curves
        from guardrail.evaluation.setting import check_output
        from guardrail.plots import cascade_png, require_matplotlib

        check_output(plot, "the picture")
        require_matplotlib()
    found = compare(
        lambda: runtime.load(model, device, dtype, chat_template, chat_template_kwargs, score_with),
        data,
        scorers,
        output=output,
        table=table,
        calibrator=calibrator or (),
        grader=grader,
        limit=limit,
        resume=resume,
        run=run,
        samples=samples,
        equivalence=equivalence,
        max_new_tokens=max_new_tokens,
        prompt=prompt,
        system=system,
        escalate_to=None if escalate_to is None else lambda: runtime.load_second(escalate_to, device, dtype),
        cost_per_call=0.0 if cost_per_call is None else cost_per_call,
        cost_of_second=1.0 if cost_of_second is None else cost_of_second,
        command=runtime.command(),
        cluster=runtime.cluster(ray, workers, worker_cpus, worker_gpus),
        progress=runtime.say,
    )
    if plot is not None and found.cascade is not None:
        cascade_png(SHARES, drawn_curves(found.cascade), found.cascade.costs, plot)
    if as_json:
        typer.echo(dumps_for(sys.stdout, found.to_dict()))
        return
    from guardrail.cli import bench_table

    bench_table.show(runtime.console(), found)
    for path in (output, table, plot):
        if path is not None:
            echo(f"written to {path}")
