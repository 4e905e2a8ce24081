"""`guardrail init`: a folder to start from."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import Annotated

import typer

from guardrail.cli.render import echo
from guardrail.errors import DataError


def init(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder to write to; made if it is missing.")],
) -> None:
    """Write a starter: a policy, a file for your questions, and the commands from calibrate to ask.

    Files that are there already are never overwritten.
    """
    from guardrail.data import starter_files
    from guardrail.files import write_whole

    if folder.exists() and not folder.is_dir():
        raise DataError(f"{str(folder)!r} is a file; give a folder")
    starter = starter_files()
    if there := next((path for path in map(folder.joinpath, starter) if os.path.lexists(path)), None):
        raise DataError(f"{there} exists, and nothing is overwritten; give another folder, or move the file")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"cannot make the folder {str(folder)!r}: {error.strerror}") from error
    for name, text in starter.items():
        write_whole(folder / name, text, "the starter", DataError)
        echo(f"written to {folder / name}")
    echo(f"next: read {folder / 'commands.sh'}, then run it: cd {shlex.quote(str(folder))} && sh commands.sh")
