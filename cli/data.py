"""`guardrail data`: questions cut into disjoint parts. Loads no model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal

import typer

from guardrail.cli import options
from guardrail.cli.render import echo
from guardrail.errors import DataError

app = typer.Typer(no_args_is_help=True, help="Cut questions into disjoint parts.")


@app.callback()
def _data() -> None:
    """Keeps `split` a command of its own."""


@app.command()
def split(
    data: Annotated[
        str,
        typer.Argument(
            metavar="DATA",
            help="Questions: .jsonl, .csv, .tsv, hub:NAME@SPLIT, - for standard input, 'bundled' or 'bundled-lists'.",
        ),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="DIR", help="The folder to write one file a part to.")
    ],
    parts: Annotated[
        str, typer.Option(metavar="NAME=SHARE,...", help="What to cut into; the shares sum to 1.")
    ] = "calibration=0.4,tune=0.3,test=0.3",
    seed: Annotated[int, typer.Option(help="Another seed, another cut.")] = 0,
    bundled: Annotated[
        Literal["calibration", "heldout"], typer.Option(help="Which half of the bundled questions.")
    ] = "calibration",
    limit: options.Limit = None,
) -> None:
    """Write PART.jsonl for each part, and split.json, which tells where they come from.

    Questions that are equal but for their form, that share a paraphrase or have the same `group`, go to one part.
    """
    from guardrail.datasets.questions import data_hash, load_data
    from guardrail.datasets.splitting import groups_of, parse_parts
    from guardrail.datasets.splitting import split as split_rows
    from guardrail.files import write_whole

    shares = parse_parts(parts)
    files = {name: output / f"{name}.jsonl" for name in shares}
    about = output / "split.json"
    if output.exists() and not output.is_dir():
        raise DataError(f"the output {str(output)!r} is a file; give a folder")
    if there := next((path for path in (*files.values(), about) if path.exists()), None):
        raise DataError(f"{there} exists, and what was fitted on it would no longer be on record; give another folder")
    loaded = load_data(data, bundled, limit)
    found = split_rows(loaded.rows, shares, seed)
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"cannot make the folder {str(output)!r}: {error.strerror}") from error
    for name, rows in found.items():
        lines = [json.dumps(r.written, ensure_ascii=False) for r in rows]
        write_whole(files[name], "\n".join(lines) + "\n", f"the part {name}", DataError)
    record = {
        "kind": "guardrail split",
        "version": 1,
        "source": loaded.source,
        "hash": data_hash(loaded.rows),
        "seed": seed,
        "parts": {
            name: {"share": shares[name], "n": len(rows), "hash": data_hash(rows)} for name, rows in found.items()
        },
    }
    write_whole(about, json.dumps(record, indent=2, ensure_ascii=False) + "\n", "the record of the split", DataError)
    groups = len(set(groups_of(loaded.rows)))
    repeated = f", {loaded.repeated} rows left out whose question came before" if loaded.repeated else ""
    echo(f"{len(loaded.rows)} questions in {groups} groups{repeated}")
    for name, rows in found.items():
        echo(f"{files[name]}: {len(rows)} ({len(rows) / len(loaded.rows):.3f}, asked for {shares[name]:g})")
