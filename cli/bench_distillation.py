"""`guardrail bench --suite distillation`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from guardrail.cli.render import echo
from guardrail.errors import DataError
from guardrail.files import write_whole
from guardrail.json_text import dumps_for

if TYPE_CHECKING:
    from guardrail.model.local import LocalModel


def run(
    model: Callable[[], LocalModel],
    data: str,
    adapters: Sequence[str],
    *,
    table: Path | None,
    plot: Path | None,
    as_json: bool,
    prompt: str | None,
    max_new_tokens: int | None,
    **options: Any,
) -> None:
    """Measure, and say it. adapters: NAME=DIR each. options: those of `bench_distillation`."""
    from guardrail.cli import runtime
    from guardrail.evaluation.bench_distillation import bench_distillation
    from guardrail.evaluation.distillation_figures import markdown
    from guardrail.evaluation.setting import asks_question, check_output
    from guardrail.plots import bins_png, require_matplotlib
    from guardrail.runs.prompts import DIRECT

    named = _named(adapters)
    for path, what in ((table, "the table"), (plot, "the picture")):
        if path is not None:
            check_output(path, what)
    if plot is not None:
        require_matplotlib()
    found = bench_distillation(
        model,
        data,
        named,
        prompt=DIRECT if prompt is None else asks_question(prompt),
        max_new_tokens=max_new_tokens or 64,
        command=runtime.command(),
        progress=runtime.say,
        **options,
    )
    if table is not None:
        write_whole(table, markdown(found), "the table", DataError)
    if plot is not None:
        bins_png({row.name: row.bins for row in found.rows}, plot)
    if as_json:
        typer.echo(dumps_for(sys.stdout, found.to_dict()))
        return
    typer.echo(markdown(found))
    for path in (options.get("output"), table, plot):
        if path is not None:
            echo(f"written to {path}")


def _named(adapters: Sequence[str]) -> dict[str, str]:
    """Raises `DataError` for what is not NAME=DIR, and for a name given twice."""
    out: dict[str, str] = {}
    for given in adapters:
        name, equals, folder = given.partition("=")
        if not (name and equals and folder):
            raise DataError(f"--adapter {given!r} is not NAME=DIR, as in --adapter taught=my-model-stating")
        if name in out:
            raise DataError(f"--adapter {name} is given twice; give each a name of its own")
        out[name] = folder
    return out
