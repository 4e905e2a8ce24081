"""`guardrail monitor`: a log of verdicts against the calibration."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from guardrail.cli import options
from guardrail.json_text import dumps_for

DRIFT = 4
"""Exit code where there is drift, so that a scheduler can act on it."""


def monitor(
    log: options.Log,
    calibrator: options.LogCalibrator,
    labels: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help='Who was right: rows of {"id", "correct"}, of a claim with "claim": 0.'),
    ] = None,
    policy: Annotated[
        str | None,
        typer.Option("--policy", "-p", metavar="NAME|FILE", help="Count this policy's decisions, against its promise."),
    ] = None,
    last: options.Last = None,
    since: options.Since = None,
    calibrated_only: Annotated[
        bool, typer.Option("--calibrated-only", help="Leave out answers asked otherwise than in the calibration.")
    ] = False,
    false_alarms: Annotated[
        float, typer.Option(help="Chance of an alarm without drift, all tests together, for each look.")
    ] = 0.05,
    seed: Annotated[int, typer.Option(min=0, help="Of the draws behind p-values and intervals.")] = 0,
    as_json: options.Json = False,
) -> None:
    """Have scores, confidences or errors drifted since the calibration? Exit code 4 says that they have.

    Loads no model. Without labels only the scores can be compared.
    """
    from guardrail.cli import runtime
    from guardrail.cli.monitoring import show
    from guardrail.monitoring import monitor as compare

    found = compare(
        log,
        calibrator,
        labels=labels,
        policy=policy,
        last=last,
        since=since or None,
        calibrated_only=calibrated_only,
        false_alarms=false_alarms,
        seed=seed,
    )
    if as_json:
        typer.echo(dumps_for(sys.stdout, found.to_dict()))
    else:
        show(runtime.console(), found)
    if found.drift:
        raise typer.Exit(DRIFT)
