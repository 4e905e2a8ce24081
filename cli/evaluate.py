"""`guardrail evaluate`: a calibrator on questions it has not seen."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from guardrail.cli import options

if TYPE_CHECKING:
    from guardrail.evaluation.assess import Assessment
    from guardrail.evaluation.assess_claims import ClaimAssessment
    from guardrail.policy import Policy


def evaluate(
    data: Annotated[
        str,
        typer.Argument(
            metavar="DATA",
            help="Rows of `question` and `answers` (accepted forms), .jsonl, .csv or .tsv, or hub:NAME@SPLIT; for claims, of "
            "`question` and `facts`, or labelled `claims` of an `answer`, .jsonl. 'bundled': the bundled held-out questions.",
        ),
    ],
    calibrator: Annotated[
        Path | None,
        typer.Option(
            "--calibrator",
            "-c",
            metavar="FILE|shipped:NAME",
            help="From `guardrail calibrate`. Default: the shipped one.",
        ),
    ] = None,
    unit: options.Unit = "answer",
    model: options.Model = options.DEFAULT_MODEL,
    policy: Annotated[
        list[str] | None, typer.Option("--policy", "-p", metavar="NAME|FILE", help="Repeatable. Default: all shipped.")
    ] = None,
    grader: options.Grader = None,
    labels: options.Labels = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Take only so many questions.")] = None,
    run: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Keep the answers here, so that --resume can.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run file.")] = False,
    batch_size: Annotated[int, typer.Option(min=1, help="Questions answered together.")] = 16,
    cache: options.Cache = True,
    chat_template: options.ChatTemplate = None,
    device: options.Device = None,
    dtype: options.Dtype = None,
    as_json: options.Json = False,
) -> None:
    """AUROC, AURC, Brier, ECE, accuracy and top labels with 95 % intervals, and what policies would have done.

    With --unit claim, by claim, against one score for the whole answer.
    """
    from guardrail.calibration.shipped import load_calibrator
    from guardrail.datasets.claims import load_claim_rows_from
    from guardrail.datasets.questions import check_no_leak, data_hash, load_data, texts_of
    from guardrail.errors import CalibrationError, DataError
    from guardrail.grading import get_grader
    from guardrail.grading.hand_labels import hand_labels
    from guardrail.policy import Policy, check_proof

    if resume and run is None:
        raise DataError("--resume needs --run FILE, the file to go on with")
    if unit == "claim" and (grader is not None or labels is not None):
        option = f"--labels {labels}" if grader is None else f"--grader {grader}"
        raise DataError(f"{option} is for whole answers; claims are graded by their facts and labels")
    grading_by = get_grader(grader) if grader else None
    policies = [Policy.load(name) for name in policy] if policy else _shipped_for(unit)
    loaded = load_data(data, "heldout", limit) if unit == "answer" else None
    questions = loaded.rows if loaded else ()
    by_hand = hand_labels(questions, labels)
    rows = load_claim_rows_from(data, "heldout", limit) if unit == "claim" else []
    given = load_calibrator(calibrator) if calibrator else None
    from guardrail.cli import runtime

    local = runtime.load(model, device, dtype, chat_template)
    from guardrail.claims.sentences import SentenceClaims
    from guardrail.cli import figures
    from guardrail.evaluation.assess import assess
    from guardrail.evaluation.assess_claims import assess_claims
    from guardrail.pipeline.calibrated import calibrated
    from guardrail.runs.asking import Asking
    from guardrail.runs.collect import collect
    from guardrail.runs.collect_claims import collect_claims, identity_of
    from guardrail.runs.scorer_pass import pass_for
    from guardrail.types import DEFAULT_MAX_NEW_TOKENS

    extractor = SentenceClaims()
    in_use = calibrated(local, unit, None, given, str(calibrator), identity_of(extractor) if unit == "claim" else None)
    fitted, origin, name = in_use.calibrator, in_use.origin, in_use.name
    if fitted is None or origin is None or name is None:
        raise CalibrationError(f"no calibrator of {unit}s is shipped for {local.name}; give one with --calibrator FILE")
    for one in policies:
        check_proof(one.proof, one.name, fitted if unit == "answer" else None, name)
    check_no_leak(origin.questions, [*texts_of(questions), *(row.question for row in rows)])
    seen = data_hash(questions)
    tuned_here = [one.name for one in policies if one.proof and one.proof.data == seen]
    length = origin.generation.get("max_new_tokens")
    asking = Asking(origin.prompt, origin.system, length if isinstance(length, int) else DEFAULT_MAX_NEW_TOKENS)
    running: dict[str, Any] = {
        "run": run,
        "resume": resume,
        "cache": runtime.record_cache() if cache else None,
        "batch_size": batch_size,
        "progress": runtime.counter("questions answered"),
    }
    result: Assessment | ClaimAssessment
    if unit == "claim":
        result = assess_claims(fitted, collect_claims(local, rows, extractor, asking, **running), policies)
    else:
        chosen = grading_by or get_grader(origin.grader)
        chosen.load()
        answers = collect(local, questions, chosen, asking, labels=by_hand, scorers=pass_for(in_use.scorer), **running)
        runtime.say_data(loaded, answers.grading)
        result = assess(fitted, answers, policies)
    if tuned_here:
        runtime.say(f"tuned on these very questions, which flatters what they would have done: {', '.join(tuned_here)}")
    if as_json:
        about: dict[str, Any] = {"model": local.name, "calibrator": name, "data": data, "tuned_here": tuned_here}
        if unit == "answer" and answers.grading:
            about["grading"] = answers.grading.to_dict()
        typer.echo(json.dumps({**about, **result.to_dict()}))
    else:
        figures.assessment(runtime.console(), result)


def _shipped_for(unit: Literal["answer", "claim"]) -> list[Policy]:
    """The shipped policies that can be measured: on answers that were not taken apart, or claim by claim."""
    from guardrail.policy import Policy

    shipped = map(Policy.load, Policy.shipped())
    return [p for p in shipped if (p.judges_claims if unit == "claim" else not p.looks_at_claims)]
