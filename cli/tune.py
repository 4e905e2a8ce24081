"""`guardrail tune`: graded answers to new questions -> a policy whose error rate is bounded, with the proof in its file."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from guardrail.cli import options
from guardrail.cli.render import printable
from guardrail.json_text import dumps_for

_OF_CHAINS = ("data", "output", "max_error", "calibrator", "confidence", "hedge_max_error", "grader", "labels", "limit",
              "resume", "run", "cache", "as_json")  # fmt: skip
UNREACHABLE = 3
"""The exit code when no threshold reaches the target: a result, not a mistake."""


def tune(
    ctx: typer.Context,
    data: Annotated[
        str,
        typer.Argument(
            metavar="DATA",
            help="Rows of `question` and `answers` (accepted forms), .jsonl, .csv or .tsv, or hub:NAME@SPLIT, none of them the "
            "calibrator's. 'bundled': the bundled held-out questions.",
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="Where to write the policy.")],
    max_error: Annotated[
        float, typer.Option(min=0, max=1, help="Largest error rate among answered questions, such as 0.1.")
    ],
    calibrator: options.Calibrator = None,
    confidence: Annotated[float, typer.Option(min=0, max=1, help="Probability that the promise holds.")] = 0.95,
    hedge_max_error: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1,
            help="Hedge too: largest error rate among answered and hedged together. Halves the error budget.",
        ),
    ] = None,
    model: options.Model = options.DEFAULT_MODEL,
    through: options.Through = None,
    grader: options.Grader = None,
    labels: options.Labels = None,
    limit: options.Limit = None,
    resume: options.Resume = False,
    run: options.Run = None,
    batch_size: options.BatchSize = 16,
    cache: options.Cache = True,
    chat_template: options.ChatTemplate = None,
    chat_template_kwargs: options.TemplateSwitches = None,
    device: options.Device = None,
    dtype: options.Dtype = None,
    as_json: options.Json = False,
) -> None:
    """Find the lowest confidence at which few enough answers are wrong, by exact bounds, and write it as a policy.

    Exit code 3, and no file, where no threshold reaches the target. Stopped at any moment, `--resume` goes on where it was.
    With --through, of what a chain answers, whose calibrator was fitted with --through, too.
    """
    from guardrail.cli import runtime

    asked: dict[str, Any] = {
        "max_error": max_error,
        "output": output,
        "calibrator": calibrator,
        "confidence": confidence,
        "hedge_max_error": hedge_max_error,
        "grader": grader,
        "labels": labels,
        "limit": limit,
        "resume": resume,
        "run": run,
        "cache": cache,
        "command": runtime.command(),
        "progress": runtime.say,
    }
    if through is not None:
        from guardrail.evaluation.tune import tune_chain

        runtime.refuse_beside(ctx, "through", _OF_CHAINS)
        found = tune_chain(through, data, **asked)
    else:
        from guardrail.evaluation.tune import tune as find

        found = find(
            lambda: runtime.load(model, device, dtype, chat_template, chat_template_kwargs),
            data,
            batch_size=batch_size,
            **asked,
        )
    from guardrail.cli import figures

    if as_json:
        typer.echo(dumps_for(sys.stdout, found.to_dict()))
    else:
        figures.tuning(runtime.console(), found, output)
    if not found.reached:
        kept = f"{output} is left as it was" if output.exists() else "nothing is written"
        print(printable(f"unreachable: {figures.unreachable(found)}; {kept}"), file=sys.stderr)
        raise typer.Exit(UNREACHABLE)
