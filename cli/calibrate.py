"""`guardrail calibrate`: see `guardrail.evaluation.calibrate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from guardrail.cli import options
from guardrail.types.names import ASK_AGAIN

_OF_CHAINS = ("data", "output", "scorer", "grader", "labels", "limit", "resume", "run", "cache")


def calibrate(
    ctx: typer.Context,
    data: Annotated[
        str,
        typer.Argument(
            metavar="DATA",
            help="Rows of `question` and `answers` (accepted forms), .jsonl, .csv, .tsv or .parquet, or hub:NAME@SPLIT; for "
            "claims, of `question` and `facts`, or labelled `claims` of an `answer`, .jsonl or .parquet. "
            "'bundled': the bundled calibration questions; 'bundled-lists': those of several answers.",
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="Where to write the calibrator.")],
    model: options.Model = options.DEFAULT_MODEL,
    score_with: options.ScoreWith = None,
    through: options.Through = None,
    unit: options.Unit = "answer",
    scorer: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="hybridgrad; stacked, all numbers of its pass weighed; for whole answers another one, sar or g-nll say. "
            "Default: hybridgrad or stacked, whichever ranks better; hybridgrad with --paper or --profile.",
        ),
    ] = None,
    weigh: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME", help="Another scorer whose number the stacked one weighs too, probe among them. Repeatable."
        ),
    ] = None,
    samples: options.Samples = None,
    equivalence: options.Equivalence = None,
    grader: Annotated[
        str | None, typer.Option(metavar="KIND", help=f"{options.GRADER_HELP}. Claims are graded by their facts.")
    ] = None,
    labels: options.Labels = None,
    limit: options.Limit = None,
    resume: options.Resume = False,
    run: options.Run = None,
    batch_size: options.BatchSize = 16,
    max_new_tokens: Annotated[
        int | None, typer.Option(min=1, help="Longest answer, in tokens. Default: 64; 160 for claims.")
    ] = None,
    prompt: Annotated[
        str | None,
        typer.Option(
            metavar="TEXT", help="How to ask; {question} is filled in. Default: for a few words; for claims, sentences."
        ),
    ] = None,
    system: options.System = None,
    keep_paper_profile: Annotated[
        bool, typer.Option("--paper", help="Eq. 6 at the template's (or the profile's) token; choose no other profile.")
    ] = False,
    retriever: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH",
            help="Ask questions again with passages of this folder or file, each with its own and with another's, "
            "and fit a curve for answers with passages.",
        ),
    ] = None,
    passages: options.Passages = 1,
    ask_again: options.AskAgain = ASK_AGAIN,
    retry_prefix: Annotated[
        str | None,
        typer.Option(
            metavar="TEXT",
            help="Ask the questions again with each reply begun with this, and fit a curve for a policy's `retry` with it.",
        ),
    ] = None,
    cache: options.Cache = True,
    profile: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="From `guardrail sps`: use its token, and choose only the rest of the profile."
        ),
    ] = None,
    chat_template: options.ChatTemplate = None,
    chat_template_kwargs: options.TemplateSwitches = None,
    device: options.Device = None,
    dtype: options.Dtype = None,
    ray: options.Ray = None,
    workers: options.WorkerCount = None,
    worker_cpus: options.WorkerCpus = None,
    worker_gpus: options.WorkerGpus = None,
) -> None:
    """Ask every question, grade the answers, choose the score's profile and fit the isotonic calibrator.

    Without --scorer, HybridGrad with the best profile and the stacked score are both fitted, and the stacked one is taken if it
    ranks better by more than chance (docs/explanation/stacked.md). The names of the others are in docs/how-to/scorers.md.
    Stopped at any moment, `--resume` goes on where it was.

    With --through, a chain asks the questions: what its guarded model is asked, and how, is its own affair, and each kind of
    conversation gets a curve (docs/how-to/chains.md).
    """
    from guardrail.cli import figures, runtime

    if through is not None:
        from guardrail.evaluation.through import calibrate_chain

        runtime.refuse_beside(ctx, "through", _OF_CHAINS)
        found = calibrate_chain(
            through,
            data,
            output,
            scorer=scorer,
            grader=grader,
            labels=labels,
            limit=limit,
            resume=resume,
            run=run,
            cache=cache,
            command=runtime.command(),
            progress=runtime.say,
        )
        figures.fit(runtime.console(), found, output)
        return
    from guardrail.evaluation.calibrate import calibrate as run_calibrate

    fit = run_calibrate(
        lambda: runtime.load(model, device, dtype, chat_template, chat_template_kwargs, score_with),
        data,
        output=output,
        unit=unit,
        scorer=scorer,
        weigh=weigh or (),
        samples=samples,
        equivalence=equivalence,
        grader=grader,
        labels=labels,
        limit=limit,
        resume=resume,
        run=run,
        batch_size=batch_size,
        max_new_tokens=max_new_tokens,
        prompt=prompt,
        system=system,
        paper=keep_paper_profile,
        profile=profile,
        retriever=retriever,
        passages=passages,
        ask_again=ask_again,
        retry_prefix=retry_prefix,
        cache=cache,
        command=runtime.command(),
        cluster=runtime.cluster(ray, workers, worker_cpus, worker_gpus),
        progress=runtime.say,
    )
    figures.fit(runtime.console(), fit, output)
