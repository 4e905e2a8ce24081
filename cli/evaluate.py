"""`guardrail evaluate`: a calibrator on questions it has not seen."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from guardrail.cli import options

if TYPE_CHECKING:
    from guardrail.policy import Policy


def evaluate(
    data: Annotated[
        str,
        typer.Argument(
            metavar="DATA.jsonl",
            help="Rows of `question` and `answers` (accepted forms). 'bundled': the bundled held-out questions.",
        ),
    ],
    calibrator: Annotated[
        Path | None,
        typer.Option(
            "--calibrator", "-c", metavar="FILE", help="From `guardrail calibrate`. Default: the shipped one."
        ),
    ] = None,
    model: options.Model = options.DEFAULT_MODEL,
    policy: Annotated[
        list[str] | None, typer.Option("--policy", "-p", metavar="NAME|FILE", help="Repeatable. Default: all shipped.")
    ] = None,
    grader: Annotated[str | None, typer.Option(metavar="KIND", help="Default: the calibrator's.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Take only so many questions.")] = None,
    run: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Keep the answers here, so that --resume can.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run file.")] = False,
    batch_size: Annotated[int, typer.Option(min=1, help="Questions answered together.")] = 16,
    chat_template: options.ChatTemplate = None,
    device: options.Device = None,
    dtype: options.Dtype = None,
    as_json: options.Json = False,
) -> None:
    """AUROC, AURC, Brier, ECE, accuracy and top labels with 95 % intervals, and what policies would have done."""
    from guardrail.calibration.isotonic import IsotonicCalibrator
    from guardrail.errors import CalibrationError, DataError
    from guardrail.evaluation.datasets import check_no_leak, load_questions_from
    from guardrail.evaluation.graders import get_grader
    from guardrail.policy import Policy

    if resume and run is None:
        raise DataError("--resume needs --run FILE, the file to go on with")
    policies = [Policy.load(name) for name in policy] if policy else _of_whole_answers()
    questions = load_questions_from(data, "heldout", limit)
    name, fitted = str(calibrator), IsotonicCalibrator.load(calibrator) if calibrator else None
    from guardrail.cli import runtime

    local = runtime.load(model, device, dtype, chat_template)
    from guardrail.cli import render

    from guardrail.calibration.shipped import shipped_calibrator
    from guardrail.evaluation.assess import assess
    from guardrail.evaluation.collect import Asking, collect
    from guardrail.guard import Guard

    if fitted is None:
        found = shipped_calibrator(local.identity)
        if found is None:
            raise CalibrationError(f"no calibrator is shipped for {local.name}; give one with --calibrator FILE")
        name, fitted = found
    guard = Guard(model=local, policy="observe", calibrator=fitted, calibrator_name=name)  # refuses another model's
    origin = fitted.provenance
    if origin is None:
        raise CalibrationError(f"{name} does not say what it was fitted on; make it with guardrail calibrate")
    check_no_leak(origin.questions, questions)
    asking = Asking(origin.prompt, origin.system, guard.usual_length)
    answers = collect(
        local,
        questions,
        get_grader(grader or origin.grader),
        asking,
        run=run,
        resume=resume,
        batch_size=batch_size,
        progress=runtime.counter("questions answered"),
    )
    result = assess(fitted, answers, policies)
    if as_json:
        typer.echo(json.dumps({"model": local.name, "calibrator": name, "data": data, **result.to_dict()}))
    else:
        render.assessment(runtime.console(), result)


def _of_whole_answers() -> list[Policy]:
    """The shipped policies that can be measured on answers that were not taken apart."""
    from guardrail.policy import Policy

    return [policy for policy in map(Policy.load, Policy.shipped()) if not policy.looks_at_claims]
