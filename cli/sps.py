"""`guardrail sps`: questions with paraphrases -> where a model keeps a question's meaning, and the token that it proposes."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from guardrail.cli import options
from guardrail.cli.render import echo
from guardrail.json_text import dumps_for

if TYPE_CHECKING:
    from rich.console import Console

    from guardrail.calibration.sps_profile import SpsProfile
    from guardrail.model.local import LocalModel


def sps(
    data: Annotated[
        str,
        typer.Argument(
            metavar="PARAPHRASES.jsonl",
            help="Rows of `question` and `paraphrases` (a list), two or more; - is standard input. 'bundled': 16 questions, to "
            "try it.",
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="Where to write the profile (JSON).")],
    model: options.Model = options.DEFAULT_MODEL,
    html: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="Write a page with the heat map, too.")
    ] = None,
    png: Annotated[
        Path | None, typer.Option("--png", metavar="FILE", help="Write the heat map as a picture (extra `plots`).")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=2, help="Use at most N questions.")] = None,
    paraphrases: Annotated[
        int | None,
        typer.Option(min=1, metavar="K", help="Take at most so many of each question; how many to make (default 5)."),
    ] = None,
    paraphrase_with: Annotated[
        str | None,
        typer.Option(
            metavar="SPEC",
            help="Have missing paraphrases made by this chat model: a spec as for --model, or provider:model of LangChain.",
        ),
    ] = None,
    paraphrases_out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Where to write them. Default: OUTPUT.paraphrases.jsonl.")
    ] = None,
    unit: options.Unit = "answer",
    prompt: Annotated[
        str | None,
        typer.Option(metavar="TEXT", help="How to ask, with {question}. Default: as `calibrate` asks for this --unit."),
    ] = None,
    system: options.System = None,
    tokens_per_pass: Annotated[int, typer.Option(min=1, help="Padded prompt tokens of one pass.")] = 4096,
    chat_template: options.ChatTemplate = None,
    chat_template_kwargs: options.TemplateSwitches = None,
    device: options.Device = None,
    dtype: options.Dtype = None,
    as_json: options.Json = False,
) -> None:
    """Measure SPS: at which layers and tokens do paraphrases look alike, and other questions not?

    Nothing is generated and no answers are needed. `guardrail calibrate --profile FILE` uses the proposed token.
    """
    from guardrail.cli import runtime
    from guardrail.datasets.paraphrasing import names_langchain
    from guardrail.pages import sps as measure

    @cache
    def load(spec: str) -> LocalModel:
        own = (chat_template, chat_template_kwargs) if spec == model else (None, None)
        return runtime.load(spec, device, dtype, *own)

    writer: str | Callable[[], LocalModel] | None = paraphrase_with
    if paraphrase_with is not None and not names_langchain(paraphrase_with):
        writer = partial(load, paraphrase_with)
    found = measure(
        partial(load, model),
        data,
        output,
        html=html,
        png=png,
        limit=limit,
        paraphrases=paraphrases,
        paraphrase_with=writer,
        paraphrases_out=paraphrases_out,
        unit=unit,
        prompt=prompt,
        system=system,
        tokens_per_pass=tokens_per_pass,
        command=runtime.command(),
        progress=runtime.say,
    )
    if as_json:
        typer.echo(dumps_for(sys.stdout, found.model_dump(mode="json")))
        return
    show(runtime.console(), found)
    for written in (output, html, png):
        if written is not None:
            echo(f"written to {written}")


def show(console: Console, found: SpsProfile) -> None:
    """The map, each token's mean with its interval, and how sure the proposed token is."""
    from rich.table import Table

    from guardrail.cli.heat_map import heat_map
    from guardrail.cli.render import escape
    from guardrail.html.sps import sentences, with_interval

    layers = list(reversed(found.layers))
    best = found.offsets.index(found.token)
    console.print(
        f"SPS of {found.data.questions} questions with {found.data.paraphrases} paraphrases, by layer and token from the "
        "prompt's end"
    )
    console.print(
        heat_map(
            console,
            [found.upper_mean, *(found.sps[layer] for layer in layers)],
            rows=["mean", *(f"h({layer})" for layer in layers)],
            columns=[str(offset) for offset in found.offsets],
            corner="layer",
            strong=[0],
            marked=best,
        )
    )
    console.print(f"mean: over h({found.upper[0]}) to h({found.upper[1]}), the upper half; *: proposed\n")
    table = Table(title="Tokens", title_justify="left")
    for heading in ("token", "what stands there", "in prompts", "mean SPS, upper half"):
        table.add_column(heading, justify="left" if heading == "what stands there" else "right")
    for i, (offset, seen, mean) in enumerate(zip(found.offsets, found.tokens, found.upper_mean, strict=True)):
        interval = found.evidence.upper_mean[i] if found.evidence else None
        table.add_row(
            f"{offset}{'*' if i == best else ''}",
            escape(seen.label),
            f"{seen.share:.0%}",
            with_interval(mean, interval),
        )
    console.print(table)
    console.print(f"[bold]proposed token {found.token}[/]")
    for sentence in sentences(found):
        console.print(f"  {escape(sentence)}")
