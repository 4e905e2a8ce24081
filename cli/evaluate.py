"""`guardrail evaluate`: a calibrator on questions it has not seen."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from guardrail.cli import options
from guardrail.json_text import dumps_for
from guardrail.types.names import ASK_AGAIN

if TYPE_CHECKING:
    from guardrail.evaluation.assess import Assessment
    from guardrail.evaluation.assess_claims import ClaimAssessment

_OF_CHAINS = ("data", "calibrator", "policy", "grader", "labels", "limit", "run", "resume", "cache", "as_json")


def evaluate(
    ctx: typer.Context,
    data: Annotated[
        str,
        typer.Argument(
            metavar="DATA",
            help="Rows of `question` and `answers` (accepted forms), .jsonl, .csv, .tsv or .parquet, or hub:NAME@SPLIT; for "
            "claims, of `question` and `facts`, or labelled `claims` of an `answer`, .jsonl or .parquet. "
            "'bundled': the bundled held-out questions; 'bundled-lists': those of several answers.",
        ),
    ],
    calibrator: options.Calibrator = None,
    unit: options.Unit = "answer",
    model: options.Model = options.DEFAULT_MODEL,
    score_with: options.ScoreWith = None,
    through: options.Through = None,
    policy: Annotated[
        list[str] | None, typer.Option("--policy", "-p", metavar="NAME|FILE", help="Repeatable. Default: all shipped.")
    ] = None,
    grader: options.Grader = None,
    labels: options.Labels = None,
    limit: options.Limit = None,
    run: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Keep the answers here, so that --resume can.")
    ] = None,
    resume: options.Resume = False,
    batch_size: options.BatchSize = 16,
    retriever: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH",
            help="Ask questions again with passages of this folder or file, each with its own and with another's, "
            "and measure that curve.",
        ),
    ] = None,
    passages: options.Passages = 1,
    ask_again: options.AskAgain = ASK_AGAIN,
    cache: options.Cache = True,
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
    """AUROC, AURC, Brier, ECE, accuracy and top labels with 95 % intervals, and what policies would have done.

    With --unit claim, by claim, against one score for the whole answer. With --through, of what a chain answers.
    """
    from guardrail.cli import runtime

    result: Assessment | ClaimAssessment
    if through is not None:
        from guardrail.evaluation.through import evaluate_chain

        runtime.refuse_beside(ctx, "through", _OF_CHAINS)
        result = evaluate_chain(
            through,
            data,
            calibrator,
            policy or None,
            grader=grader,
            labels=labels,
            limit=limit,
            run=run,
            resume=resume,
            cache=cache,
            progress=runtime.say,
        )
    else:
        from guardrail.evaluation.evaluate import evaluate as measure

        result = measure(
            lambda: runtime.load(model, device, dtype, chat_template, chat_template_kwargs, score_with),
            data,
            calibrator,
            policy or None,
            unit=unit,
            grader=grader,
            labels=labels,
            limit=limit,
            run=run,
            resume=resume,
            retriever=retriever,
            passages=passages,
            ask_again=ask_again,
            cache=cache,
            batch_size=batch_size,
            cluster=runtime.cluster(ray, workers, worker_cpus, worker_gpus),
            progress=runtime.say,
        )
    if as_json:
        typer.echo(dumps_for(sys.stdout, result.to_dict()))
    else:
        from guardrail.cli import figures

        figures.assessment(runtime.console(), result)
