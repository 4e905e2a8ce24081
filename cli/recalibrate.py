"""`guardrail recalibrate`: see `guardrail.evaluation.recalibrate`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from guardrail.cli import options
from guardrail.json_text import dumps_for


def recalibrate(
    log: options.Log,
    calibrator: options.LogCalibrator,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="Where to write the new calibrator.")],
    labels: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help='Who was right: rows of {"id", "correct"}, of a claim with "claim": 0. Default: the labels in the log.',
        ),
    ] = None,
    last: options.Last = None,
    since: options.Since = None,
    with_extrapolated: Annotated[
        bool, typer.Option("--with-extrapolated", help="Also use answers asked otherwise than in the calibration.")
    ] = False,
    seed: Annotated[int, typer.Option(min=0, help="Of the folds, and of the draws behind the intervals.")] = 0,
    as_json: options.Json = False,
) -> None:
    """Fit a calibrator's curve again from logged scores and people's labels, without the model.

    Model, scorer and options stay as they were. Tells the same figures before and after; refuses too few labels.
    """
    from guardrail.cli import figures, runtime
    from guardrail.evaluation.recalibrate import recalibrate as fit_again

    found = fit_again(
        log,
        calibrator,
        output,
        labels=labels,
        last=last,
        since=since or None,
        with_extrapolated=with_extrapolated,
        seed=seed,
        command=runtime.command(),
    )
    if as_json:
        typer.echo(dumps_for(sys.stdout, found.to_dict()))
    else:
        figures.recalibration(runtime.console(), found, output)
