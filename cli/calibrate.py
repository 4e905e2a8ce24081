"""`guardrail calibrate`: questions with accepted answers -> a calibrator."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer
from guardrail.cli import options

DIRECT = "Please directly answer the following question with one or few words:\n{question}"
"""The prompt of arXiv 2605.04638."""


def calibrate(
    data: Annotated[
        str,
        typer.Argument(
            metavar="DATA.jsonl",
            help="Rows of `question` and `answers` (accepted forms). 'bundled': the bundled calibration questions.",
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="Where to write the calibrator.")],
    model: options.Model = options.DEFAULT_MODEL,
    grader: Annotated[str, typer.Option(metavar="KIND", help="alias, exact or f1.")] = "alias",
    limit: Annotated[int | None, typer.Option(min=1, help="Take only so many questions.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a run that was stopped.")] = False,
    run: Annotated[Path | None, typer.Option(metavar="FILE", help="The run's file. Default: OUTPUT.run.jsonl.")] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Questions answered together.")] = 16,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Longest answer, in tokens.")] = 64,
    prompt: Annotated[str, typer.Option(metavar="TEXT", help="How to ask; {question} is filled in.")] = DIRECT,
    system: Annotated[str | None, typer.Option(metavar="TEXT", help="System message.")] = None,
    keep_paper_profile: Annotated[
        bool, typer.Option("--paper", help="Eq. 6 at the template's token; choose no other profile.")
    ] = False,
    chat_template: options.ChatTemplate = None,
    device: options.Device = None,
    dtype: options.Dtype = None,
) -> None:
    """Ask every question, grade the answers, choose the score's profile and fit the isotonic calibrator.

    Stopped at any moment, `--resume` goes on where it was.
    """
    from guardrail.errors import DataError
    from guardrail.evaluation.datasets import load_questions_from
    from guardrail.evaluation.graders import get_grader

    if "{question}" not in prompt:
        raise DataError(f"the prompt {prompt!r} does not say where the {{question}} goes")
    chosen = get_grader(grader)
    questions = load_questions_from(data, "calibration", limit)
    if not output.parent.is_dir():
        raise DataError(f"there is no folder {str(output.parent)!r} to write the calibrator to")
    if not output.name or output.is_dir():
        raise DataError(f"the output {str(output)!r} is a folder; give a file")
    run = run or output.with_name(output.name + ".run.jsonl")
    if len({path.resolve() for path in (Path(data), output, run)}) < 3:
        raise DataError("the data, the output and the run must be three files")
    from guardrail.cli import runtime

    local = runtime.load(model, device, dtype, chat_template)
    from guardrail.cli import render

    from guardrail.evaluation.collect import Asking, collect
    from guardrail.evaluation.fitting import fit_calibrator, prior_profile

    asking = Asking(prompt, system, max_new_tokens)
    answers = collect(
        local,
        questions,
        chosen,
        asking,
        run=run,
        resume=resume,
        batch_size=batch_size,
        progress=runtime.counter("questions answered"),
    )
    runtime.say("choosing the profile by cross-validation and fitting")
    fit = fit_calibrator(
        local,
        questions,
        answers,
        asking,
        grader=grader,
        command=shlex.join(["guardrail", *(a for a in sys.argv[1:] if a != "--resume")]),
        keep_profile=prior_profile(local) if keep_paper_profile else None,
    )
    fit.calibrator.save(output)
    render.fit(runtime.console(), fit, output)
