"""`guardrail bench`: every scorer side by side, on the same answers."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from guardrail.cli import options
from guardrail.cli.calibrate import DIRECT, LONGEST


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
        typer.Option(metavar="all|NAME,NAME", help="Which ones: all 14, or some by name; hybridgrad is always there."),
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
    limit: Annotated[int | None, typer.Option(min=1, help="Use at most N questions.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a run that was stopped.")] = False,
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
    system: Annotated[str | None, typer.Option(metavar="TEXT", help="System message.")] = None,
    chat_template: options.ChatTemplate = None,
    device: options.Device = None,
    dtype: options.Dtype = None,
    as_json: options.Json = False,
) -> None:
    """AUROC, AURC and PRR of each scorer with 95 % intervals, its difference from HybridGrad, its time and its memory.

    One answer at a time, so that the times are those of a scorer alone. Stopped at any moment, `--resume` goes on where it was.
    """
    from guardrail.datasets.questions import check_no_leak, data_hash, load_questions_from
    from guardrail.errors import DataError
    from guardrail.grading import get_grader
    from guardrail.scoring.baselines.registry import SCORERS, check_names

    names = list(SCORERS) if scorers == "all" else [name.strip() for name in scorers.split(",") if name.strip()]
    check_names(names)
    if not names:
        raise DataError("--scorers names none; give all, or names with commas between them")
    if prompt is not None and "{question}" not in prompt:
        raise DataError(f"the prompt {prompt!r} does not say where the {{question}} goes")
    for path in (output, table):
        if path is not None and (not path.parent.is_dir() or path.is_dir() or not path.name):
            raise DataError(f"cannot write {str(path)!r}: give a file in a folder that exists")
    if run is None and output is not None:
        run = output.with_name(output.name + ".run.jsonl")
    if resume and run is None:
        raise DataError("--resume needs --run FILE or --output FILE, which say what to go on with")
    files = [Path(data), *(path for path in (calibrator, output, table, run) if path)]
    if len({path.resolve() for path in files}) < len(files):
        raise DataError("the data, the calibrator, the output, the table and the run must be different files")
    from guardrail.calibration.shipped import load_calibrator

    questions = load_questions_from(data, "heldout", limit)
    given = load_calibrator(calibrator) if calibrator else None
    if given is not None and given.provenance is not None:  # its row would flatter
        check_no_leak(given.provenance.questions, [q.question for q in questions])
    from guardrail.cli import runtime

    local = runtime.load(model, device, dtype, chat_template)
    from guardrail.cli import bench_table
    from guardrail.evaluation.bench import MEMORY_ANSWERS, contenders
    from guardrail.evaluation.bench import bench as compare
    from guardrail.files import write_whole
    from guardrail.pipeline.calibrated import calibrated
    from guardrail.runs.asking import Asking
    from guardrail.runs.collect import collect
    from guardrail.runs.scorer_pass import ScorerPass, spread_out

    in_use = calibrated(local, "answer", None, given, str(calibrator)) if given else None
    origin = in_use.origin if in_use else None
    length = max_new_tokens or (in_use.usual("max_new_tokens") if in_use else None)
    asking = Asking(
        prompt or (origin.prompt if origin else DIRECT),
        system if system is not None else (origin.system if origin else None),
        length if isinstance(length, int) else LONGEST["answer"],
    )
    chosen = get_grader(grader or (origin.grader if origin else "alias"))
    runtime.say(f"making {len(names)} scorers")
    made = contenders(local, names, asking, samples=samples, fitted_on=in_use.scorer if in_use else None)
    on = spread_out([q.question for q in questions], MEMORY_ANSWERS)
    answers = collect(
        local,
        questions,
        chosen,
        asking,
        run=run,
        resume=resume,
        batch_size=1,  # a batch's time is no answer's, and what is killed loses one answer
        progress=runtime.counter("questions answered and scored"),
        scorers=ScorerPass(made, on),
    )
    runtime.say("comparing the scorers on 1,000 resamples")
    found = compare(answers, made)
    command = shlex.join(["guardrail", *(a for a in sys.argv[1:] if a != "--resume")])
    told = found.to_dict(local, asking, data=data, data_hash=data_hash(questions), grader=chosen.name, command=command)
    if output is not None:
        write_whole(output, json.dumps(told, indent=1, allow_nan=False) + "\n", "the figures", DataError)
    if table is not None:
        write_whole(table, bench_table.markdown(found, command), "the table", DataError)
    if as_json:
        typer.echo(json.dumps(told, allow_nan=False))
    else:
        bench_table.show(runtime.console(), found)
        for path in (output, table):
            if path is not None:
                typer.echo(f"written to {path}")
