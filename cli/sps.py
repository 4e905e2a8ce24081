"""`guardrail sps`: questions with paraphrases -> where a model keeps a question's meaning, and the token that it proposes."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from guardrail.cli import options
from guardrail.cli.calibrate import DIRECT, IN_SENTENCES
from guardrail.errors import DataError

if TYPE_CHECKING:
    from rich.console import Console

    from guardrail.calibration.sps_profile import SpsProfile
    from guardrail.datasets.paraphrasing import Ask
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
    limit: Annotated[int | None, typer.Option(min=2, help="Take only so many questions.")] = None,
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
    system: Annotated[str | None, typer.Option(metavar="TEXT", help="System message.")] = None,
    tokens_per_pass: Annotated[int, typer.Option(min=1, help="Padded prompt tokens of one pass.")] = 4096,
    chat_template: options.ChatTemplate = None,
    device: options.Device = None,
    dtype: options.Dtype = None,
    as_json: options.Json = False,
) -> None:
    """Measure SPS: at which layers and tokens do paraphrases look alike, and other questions not?

    Nothing is generated and no answers are needed. `guardrail calibrate --profile FILE` uses the proposed token.
    """
    from guardrail.cli.claims import check_page
    from guardrail.datasets.paraphrases import load_paraphrase_rows

    prompt = prompt if prompt is not None else DIRECT if unit == "answer" else IN_SENTENCES
    if "{question}" not in prompt:
        raise DataError(f"the prompt {prompt!r} does not say where the {{question}} goes")
    if paraphrases_out is not None and paraphrase_with is None:
        raise DataError("--paraphrases-out is for paraphrases that are made; add --paraphrase-with SPEC")
    rows = load_paraphrase_rows(data, limit, most=paraphrases, complete=paraphrase_with is None)
    made = None
    if paraphrase_with is not None and not all(row.paraphrases for row in rows):
        made = paraphrases_out or output.with_name(output.name + ".paraphrases.jsonl")
        if made.exists():
            raise DataError(f"{str(made)!r} is there already; give it as the data to go on with it, or another name")
    outputs = [path for path in (output, html, png, made) if path is not None]
    for path in outputs:
        check_page(path)
    if len({path.resolve() for path in (Path(data), *outputs)}) <= len(outputs):
        raise DataError("the data and the outputs must be different files")
    if png is not None:
        from guardrail.plots import require_matplotlib

        require_matplotlib()
    from guardrail.cli import runtime

    local = runtime.load(model, device, dtype, chat_template)
    from guardrail.datasets.paraphrasing import paraphrase
    from guardrail.evaluation.sps import measure_sps
    from guardrail.runs.asking import Asking

    if made is not None and paraphrase_with is not None:
        ask = _asks(paraphrase_with, local, model, device, dtype)
        counter = runtime.counter("questions paraphrased")
        rows = paraphrase(rows, ask, paraphrases or 5, made, progress=lambda n, total: counter(n, total, 0.0))
        runtime.say(f"{made} holds the paraphrases: read them, a model may change a question's meaning")
    found = measure_sps(
        local,
        rows,
        Asking(prompt, system),
        name=Path(data).name,
        command=shlex.join(["guardrail", *sys.argv[1:]]),
        tokens_per_pass=tokens_per_pass,
        progress=runtime.counter("prompts read"),
    )
    found.save(output)
    if html is not None:
        from guardrail.html import sps_page

        html.write_text(sps_page(found), encoding="utf-8", newline="\n")
    if png is not None:
        from guardrail.plots import sps_png

        sps_png(found, png)
    if as_json:
        typer.echo(found.model_dump_json())
        return
    show(runtime.console(), found)
    for written in (output, html, png):
        if written is not None:
            typer.echo(f"written to {written}")


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
        console.print(f"  {sentence}")


def _asks(spec: str, local: LocalModel, model: str, device: str | None, dtype: str | None) -> Ask:
    """What asks the model that writes paraphrases: a local one, or LangChain's where `spec` has the form provider:model."""
    if ":" in spec and not Path(spec).exists():
        from guardrail.datasets.paraphrasing import asks_langchain

        return asks_langchain(spec)
    from guardrail.cli import runtime

    writer = local if spec == model else runtime.load(spec, device, dtype, None)
    return lambda text: writer.generate(text, max_new_tokens=400).text
