"""`guardrail tune`: graded answers, or claims, to new questions -> a policy whose errors are bounded, with the proof in it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from guardrail.cli import options
from guardrail.cli.render import printable
from guardrail.errors import DataError
from guardrail.json_text import dumps_for

if TYPE_CHECKING:
    from guardrail.evaluation.claim_tuning import ClaimTuning
    from guardrail.evaluation.tuning import Tuning
    from guardrail.model.local import LocalModel

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
            "calibrator's; for claims, of `question` and `facts`, or labelled `claims` of an `answer`, .jsonl. 'bundled': the "
            "bundled held-out questions.",
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="Where to write the policy.")],
    max_error: Annotated[
        float | None,
        typer.Option(
            min=0, max=1, help="Largest error rate among answered questions, such as 0.1. Needed for answers."
        ),
    ] = None,
    unit: options.Unit = "answer",
    all_right: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1,
            help="For claims: share of answers that shall keep no wrong claim, such as 0.9. Needed for claims.",
        ),
    ] = None,
    marginal: Annotated[
        bool, typer.Option("--marginal", help="For claims: promise an average, not each draw with a confidence.")
    ] = False,
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
    escalate_to: options.EscalateTo = None,
    escalate_calibrator: options.EscalateCalibrator = None,
    cost_per_call: Annotated[
        float | None, typer.Option(min=0, help="With --escalate-to: of an answer of the first model. Default: 0.")
    ] = None,
    cost_of_second: Annotated[
        float | None, typer.Option(min=0, help="Of an answer of the second model, in the same unit. Default: 1.")
    ] = None,
    model: options.Model = options.DEFAULT_MODEL,
    score_with: options.ScoreWith = None,
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

    With --escalate-to: of what either of two models answers, the second being asked below the threshold, at least cost. With
    --unit claim: the lowest from which claims can be kept so that few enough answers keep a wrong one. With --through: of
    what a chain answers, whose calibrator was fitted with --through, too. Exit code 3, and no file, where no threshold reaches
    the target. Stopped at any moment, `--resume` goes on where it was.
    """
    from guardrail.cli import runtime

    wanted = _target(ctx, unit)
    if escalate_to is None and (escalate_calibrator or cost_per_call is not None or cost_of_second is not None):
        raise DataError(
            "costs, and a calibrator for a second model, need --escalate-to SPEC; add it, or leave them out"
        )
    if escalate_to is not None and hedge_max_error is not None:
        raise DataError(
            "--hedge-max-error is for one model: what the first is unsure of is asked of the second, not hedged"
        )

    def load() -> LocalModel:
        return runtime.load(model, device, dtype, chat_template, chat_template_kwargs, score_with)

    asked: dict[str, Any] = {
        "output": output,
        "calibrator": calibrator,
        "limit": limit,
        "resume": resume,
        "run": run,
        "cache": cache,
        "command": runtime.command(),
        "progress": runtime.say,
    }
    of_answers: dict[str, Any] = {
        "max_error": wanted,
        "confidence": confidence,
        "hedge_max_error": hedge_max_error,
        "grader": grader,
        "labels": labels,
        **asked,
    }
    found: Tuning | ClaimTuning
    if through is not None:
        from guardrail.evaluation.tune import tune_chain

        runtime.refuse_beside(ctx, "through", _OF_CHAINS)
        found = tune_chain(through, data, **of_answers)
    elif escalate_to is not None and unit == "answer":
        from guardrail.evaluation.tune_escalation import tune_escalation

        del of_answers["hedge_max_error"]
        found = tune_escalation(
            load,
            lambda: runtime.load_second(escalate_to, device, dtype),
            data,
            batch_size=batch_size,
            cost_per_call=0.0 if cost_per_call is None else cost_per_call,
            cost_of_second=1.0 if cost_of_second is None else cost_of_second,
            second_calibrator=escalate_calibrator,
            **of_answers,
        )
    elif unit == "claim":
        from guardrail.evaluation.tune_claims import tune_claims

        of_claims: dict[str, Any] = {"all_right": wanted, "confidence": None if marginal else confidence, **asked}
        found = tune_claims(load, data, batch_size=batch_size, **of_claims)
    else:
        from guardrail.evaluation.tune import tune as find

        found = find(
            load,
            data,
            batch_size=batch_size,
            **of_answers,
        )
    _say(found, output, as_json)


def _say(found: Tuning | ClaimTuning, output: Path, as_json: bool) -> None:
    from guardrail.cli import claim_figures, figures, route_figures, runtime
    from guardrail.evaluation.tuning import Tuning

    if as_json:
        typer.echo(dumps_for(sys.stdout, found.to_dict()))
    elif isinstance(found, Tuning):
        if found.routing is not None:
            route_figures.routing(runtime.console(), found.routing)
        figures.tuning(runtime.console(), found, output)
    else:
        claim_figures.tuning(runtime.console(), found, output)
    if not found.reached:
        why = figures.unreachable(found) if isinstance(found, Tuning) else claim_figures.unreachable(found)
        kept = f"{output} is left as it was" if output.exists() else "nothing is written"
        print(printable(f"unreachable: {why}; {kept}"), file=sys.stderr)
        raise typer.Exit(UNREACHABLE)


_OF_ANSWERS = ("max_error", "hedge_max_error", "grader", "labels", "escalate_to")
_OF_CLAIMS = ("all_right", "marginal")


def _target(ctx: typer.Context, unit: str) -> float:
    """The rate that is asked for. Raises `DataError` for an option that the unit has no use for."""
    given = {
        name
        for name in ctx.params
        if (source := ctx.get_parameter_source(name)) is not None and source.name == "COMMANDLINE"
    }
    needed, others, other = (
        ("all_right", _OF_ANSWERS, "whole answers") if unit == "claim" else ("max_error", _OF_CLAIMS, "claims")
    )
    if foreign := [name for name in others if name in given]:
        raise DataError(f"--{foreign[0].replace('_', '-')} is for {other}; leave it out, or change --unit")
    if {"marginal", "confidence"} <= given:
        raise DataError("--marginal promises an average, which has no --confidence; leave one of them out")
    value: float | None = ctx.params[needed]
    if value is None:
        raise typer.BadParameter(f"Missing option '--{needed.replace('_', '-')}'.")
    return value
