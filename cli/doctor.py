"""`guardrail doctor`: is everything here that the main job needs?"""

from __future__ import annotations

import platform
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from guardrail import __version__
from guardrail.cli import options
from guardrail.cli.render import echo
from guardrail.json_text import dumps_for

if TYPE_CHECKING:
    from collections.abc import Iterable

    from guardrail.evaluation.doctor import Checkup


def doctor(
    model: Annotated[
        str | None,
        typer.Option("--model", "-m", metavar="SPEC", help="Load this model, and see which calibrator fits."),
    ] = None,
    calibrator: Annotated[
        str | None,
        typer.Option(
            "--calibrator", "-c", metavar="FILE|shipped:NAME", help="See whether this calibrator fits the model."
        ),
    ] = None,
    chat_template: options.ChatTemplate = None,
    chat_template_kwargs: options.TemplateSwitches = None,
    device: options.Device = None,
    dtype: options.Dtype = None,
    as_json: options.Json = False,
) -> None:
    """Check versions, devices, models, extras and calibrators; exit code 1 if something is missing.

    With --model or --calibrator: whether the calibrator fits the model and, if not, what differs. Uses no network.
    """
    from guardrail.cli import runtime

    runtime.say("looking at packages, devices and models")
    from guardrail.evaluation.doctor import check_up

    spec = model or options.DEFAULT_MODEL
    wanted = model is not None or calibrator is not None
    load = (lambda: runtime.load(spec, device, dtype, chat_template, chat_template_kwargs)) if wanted else None
    found = check_up(load, calibrator)
    if as_json:
        typer.echo(dumps_for(sys.stdout, found.to_dict()))
    else:
        _show(found)
    if not found.ok:
        raise typer.Exit(1)


def _show(found: Checkup) -> None:
    echo(f"guardrail {__version__}, Python {platform.python_version()}, {platform.system()} {platform.machine()}")
    _section("packages", ((p.name, p.version or "missing") for p in found.packages))
    _section("devices", ((d.name, f"{d.what}, {_bytes(d.memory)}") for d in found.devices))
    _section("models", ((m.name, f"{m.kind}, {_bytes(m.size)}: {m.path}") for m in found.models))
    _section(
        "extras",
        (
            (e.name, f"missing {', '.join(e.missing)} ({e.purpose}): {e.install}" if e.missing else "installed")
            for e in found.extras
        ),
    )
    _section(
        "calibrators",
        ((c.name, f"{c.unit}s of {c.model} in {c.dtype}: {c.scorer}, {c.n} {c.unit}s") for c in found.calibrators),
    )
    if found.fitting and not found.fitting.differences:
        unsealed = (
            "" if found.fitting.sealed else "; it holds no digest, so an edit to what it was fitted on would not show"
        )
        echo(f"\n{found.fitting.calibrator} fits {found.fitting.model}{unsealed}")
    typer.echo()
    for problem in found.problems:
        echo(f"problem: {problem.what}{f'; {problem.remedy}' if problem.remedy else ''}")
    if found.ok:
        echo("no problems; try: guardrail demo")


def _section(title: str, rows: Iterable[tuple[str, str]]) -> None:
    echo(f"\n{title}")
    told = list(rows)
    width = max((len(name) for name, _ in told), default=0)
    for name, text in told:
        echo(f"  {name:{width}}  {text}")


def _bytes(size: int | None) -> str:
    if size is None:
        return "memory unknown"
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{size / 2**20:.0f} MiB"
