"""`guardrail score`: scores for answers that exist already."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from guardrail.cli import options
from guardrail.errors import DataError


def score(
    source: Annotated[
        str,
        typer.Argument(
            metavar="IN.jsonl", help="Rows of `messages` (or `prompt`) and `response`, or .parquet; - is stdin."
        ),
    ],
    output: Annotated[
        str,
        typer.Option("--output", "-o", metavar="OUT.jsonl", help="Where to write, .parquet as a table; - is stdout."),
    ] = "-",
    model: options.Model = options.DEFAULT_MODEL,
    score_with: options.ScoreWith = None,
    calibrator: options.Calibrator = None,
    paper: Annotated[
        bool, typer.Option("--paper", help="Eq. 6 at the template's token, whatever a calibrator says.")
    ] = False,
    batch_size: Annotated[int, typer.Option(min=1, help="Answers scored together.")] = 8,
    run: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Keep the scores here as they are made, so that --resume can go on."),
    ] = None,
    resume: options.Resume = False,
    chat_template: options.ChatTemplate = None,
    chat_template_kwargs: options.TemplateSwitches = None,
    device: options.Device = None,
    dtype: options.Dtype = None,
    ray: options.Ray = None,
    workers: options.WorkerCount = None,
    worker_cpus: options.WorkerCpus = None,
    worker_gpus: options.WorkerGpus = None,
) -> None:
    """Add a HybridGrad score to each row. A bad row gets `error` and its line number, and the exit code is 1."""
    from guardrail.cli import runtime
    from guardrail.evaluation.score import score as add_scores

    done = add_scores(
        lambda: runtime.load(model, device, dtype, chat_template, chat_template_kwargs, score_with),
        source,
        output,
        calibrator=calibrator,
        paper=paper,
        batch_size=batch_size,
        run=run,
        resume=resume,
        cluster=runtime.cluster(ray, workers, worker_cpus, worker_gpus),
        progress=runtime.say,
    )
    if done.failed:
        raise DataError(
            f"{done.failed} of {done.total} rows could not be scored; each has `error` and `line` in the output"
        )
