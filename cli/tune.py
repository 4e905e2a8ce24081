"""`guardrail tune`: graded answers to new questions -> a policy whose error rate is bounded, with the proof in its file."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from guardrail.cli import options

UNREACHABLE = 3
"""The exit code when no threshold reaches the target: a result, not a mistake."""


def tune(
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
    grader: options.Grader = None,
    labels: options.Labels = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Take only so many questions.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a run, or use a finished one again.")] = False,
    run: Annotated[Path | None, typer.Option(metavar="FILE", help="The run's file. Default: OUTPUT.run.jsonl.")] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Questions answered together.")] = 16,
    cache: options.Cache = True,
    chat_template: options.ChatTemplate = None,
    device: options.Device = None,
    dtype: options.Dtype = None,
    as_json: options.Json = False,
) -> None:
    """Find the lowest confidence at which few enough answers are wrong, by exact bounds, and write it as a policy.

    Exit code 3, and no file, where no threshold reaches the target. Stopped at any moment, `--resume` goes on where it was.
    """
    from guardrail.errors import CalibrationError, DataError

    for option, rate in (("--max-error", max_error), ("--confidence", confidence)):
        if not 0 < rate < 1:
            raise DataError(f"{option} is {rate:g}; it must lie between 0 and 1, ends excluded")
    if hedge_max_error is not None and not max_error < hedge_max_error < 1:
        raise DataError(
            f"--hedge-max-error is {hedge_max_error:g}; it must lie between --max-error ({max_error:g}) and 1"
        )
    if not output.parent.is_dir():
        raise DataError(f"there is no folder {str(output.parent)!r} to write the policy to")
    if not output.name or output.is_dir():
        raise DataError(f"the output {str(output)!r} is a folder; give a file")
    run = run or output.with_name(output.name + ".run.jsonl")
    files = [Path(data), output, run, *([calibrator] if calibrator else [])]
    if len({path.resolve() for path in files}) < len(files):
        raise DataError("the data, the calibrator, the output and the run must be different files")
    from guardrail.calibration.shipped import load_calibrator
    from guardrail.datasets.questions import check_no_leak, data_hash, load_data, texts_of
    from guardrail.grading import get_grader
    from guardrail.grading.hand_labels import hand_labels

    loaded = load_data(data, "heldout", limit)
    questions, asked = loaded.rows, texts_of(loaded.rows)
    by_hand = hand_labels(questions, labels)
    wanted = get_grader(grader) if grader else None
    given = load_calibrator(calibrator) if calibrator else None
    if given is not None and given.provenance is not None:  # before the slow part
        check_no_leak(given.provenance.questions, asked)
    from guardrail.cli import runtime

    local = runtime.load(model, device, dtype, chat_template)
    from guardrail.cli import figures
    from guardrail.errors import PolicyError
    from guardrail.evaluation.tuning import proof_of
    from guardrail.evaluation.tuning import tune as tune_on
    from guardrail.files import write_whole
    from guardrail.pipeline.calibrated import calibrated
    from guardrail.policy import Policy
    from guardrail.policy.tuned import policy_text
    from guardrail.runs.asking import Asking
    from guardrail.runs.collect import collect
    from guardrail.runs.scorer_pass import pass_for
    from guardrail.types import DEFAULT_MAX_NEW_TOKENS

    in_use = calibrated(local, "answer", None, given, str(calibrator))
    fitted, origin, name = in_use.calibrator, in_use.origin, in_use.name
    if fitted is None or origin is None or name is None:
        raise CalibrationError(f"no calibrator is shipped for {local.name}; give one with --calibrator FILE")
    check_no_leak(origin.questions, asked)
    if not origin.questions:
        raise CalibrationError(
            f"{name} does not say which questions it was fitted on, so the tuning data may be among them; "
            "make it with guardrail calibrate"
        )
    length = origin.generation.get("max_new_tokens")
    chosen = wanted or get_grader(origin.grader)
    chosen.load()
    answers = collect(
        local,
        questions,
        chosen,
        Asking(origin.prompt, origin.system, length if isinstance(length, int) else DEFAULT_MAX_NEW_TOKENS),
        run=run,
        resume=resume,
        cache=runtime.record_cache() if cache else None,
        batch_size=batch_size,
        progress=runtime.counter("questions answered"),
        scorers=pass_for(in_use.scorer),
        labels=by_hand,
        ungraded_is_wrong=True,
    )
    runtime.say_data(loaded, answers.grading)
    graded_by = answers.grading.in_words() if answers.grading else chosen.name
    found = tune_on(fitted, answers, max_error=max_error, confidence=confidence, hedge_max_error=hedge_max_error)
    if found.reached:
        command = shlex.join(["guardrail", *(a for a in sys.argv[1:] if a != "--resume")])
        proof = proof_of(
            found, fitted, name, local.identity, data=data_hash(questions), grader=graded_by, command=command
        )
        text = policy_text(proof)
        Policy.from_text(text, str(output))  # what is written can be read
        write_whole(output, text, "the policy", PolicyError)
    if as_json:
        typer.echo(
            json.dumps({"model": local.name, "calibrator": name, "data": data, "grader": graded_by, **found.to_dict()})
        )
    else:
        figures.tuning(runtime.console(), found, output)
    if not found.reached:
        kept = f"{output} is left as it was" if output.exists() else "nothing is written"
        print(f"unreachable: {figures.unreachable(found)}; {kept}", file=sys.stderr)
        raise typer.Exit(UNREACHABLE)
