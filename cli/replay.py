"""`guardrail replay`: logged verdicts, computed again."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from guardrail.cli import options
from guardrail.cli.render import echo
from guardrail.json_text import dumps_for

DIFFERS = 1
"""Exit code where anything came out otherwise."""


def replay(
    log: options.Log,
    policy: Annotated[
        str | None,
        typer.Option(
            "--policy", "-p", metavar="NAME|FILE", help="Decides again. Default: the one that each line names."
        ),
    ] = None,
    calibrator: options.Calibrator = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model", "-m", metavar="SPEC", help="Scores lines with text again. Default: logged scores are taken."
        ),
    ] = None,
    tolerance: Annotated[
        float, typer.Option(min=0, help="Scores (relative) and confidences that differ by no more are the same.")
    ] = 1e-3,
    chat_template: options.ChatTemplate = None,
    chat_template_kwargs: options.TemplateSwitches = None,
    device: options.Device = None,
    dtype: options.Dtype = None,
    as_json: options.Json = False,
) -> None:
    """Compute score, confidence and decision of logged verdicts again. Exit code 1 says that something differs.

    Lines without text (`guardrail ask --log` without --log-text) are decided again from the logged confidence.
    """
    from guardrail.cli import runtime
    from guardrail.monitoring.replay import replay as again

    found = again(
        log,
        policy=policy,
        calibrator=calibrator,
        load_model=None
        if model is None
        else lambda: runtime.load(model, device, dtype, chat_template, chat_template_kwargs),
        tolerance=tolerance,
    )
    if as_json:
        typer.echo(dumps_for(sys.stdout, found.to_dict()))
    else:
        for each in found.differences:
            echo(f"{each.where}, pass {each.attempt + 1}: {each.field} was {each.logged}, is {each.replayed}")
        for what, reasons in (("scored", found.not_scored), ("decided", found.not_decided)):
            for reason, count in reasons.items():
                echo(f"{count} not {what} again: {reason}")
        if found.torn:
            echo(f"{found.torn} torn lines were passed over")
        echo(
            f"{found.verdicts} verdicts: {found.scored} passes scored again, {found.decided} decided again, "
            f"{len(found.differences)} differences"
        )
    if found.differences:
        raise typer.Exit(DIFFERS)
