"""The `guardrail` command: its commands, and one clean line for each mistake. Knows nothing about what commands do.

Importing this imports no torch: commands import what they need when they run.
"""

from __future__ import annotations

import errno
import io
import os
import sys
from contextlib import suppress
from typing import Annotated, NoReturn

import typer

from guardrail import __version__
from guardrail.cli import (
    ask,
    bench,
    calibrate,
    data,
    demo,
    distill,
    doctor,
    evaluate,
    grade,
    init,
    model,
    monitor,
    policy,
    recalibrate,
    replay,
    report,
    score,
    serve,
    sps,
    tune,
)
from guardrail.cli.options import RayCommand
from guardrail.cli.render import echo, printable
from guardrail.errors import GuardrailError

app = typer.Typer(
    name="guardrail",
    help="Answers from a local language model with a calibrated confidence, and a policy that acts on it.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("demo")(demo.demo)
app.command("doctor")(doctor.doctor)
app.command("init")(init.init)
app.command("ask", cls=ask.AskCommand)(ask.ask)
app.command("score", cls=RayCommand)(score.score)
app.command("calibrate", cls=RayCommand)(calibrate.calibrate)
app.command("evaluate", cls=RayCommand)(evaluate.evaluate)
app.command("bench", cls=RayCommand)(bench.bench)
app.command("tune")(tune.tune)
app.command("sps")(sps.sps)
app.command("grade")(grade.grade)
app.command("monitor")(monitor.monitor)
app.command("recalibrate")(recalibrate.recalibrate)
app.command("replay")(replay.replay)
app.command("report")(report.report)
app.command("serve", cls=RayCommand)(serve.serve)
app.command("serve-key")(serve.serve_key)
app.command("distill")(distill.distill)
app.add_typer(data.app, name="data")
app.add_typer(policy.app, name="policy")
app.add_typer(model.app, name="model")

INTERRUPTED = 130
"""The exit code of Ctrl-C, as shells have it."""

_debug = False


def _version(wanted: bool) -> None:
    if wanted:
        echo(f"guardrail {__version__}")
        raise typer.Exit


@app.callback()
def _global_options(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    _: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")] = False,
) -> None:
    global _debug
    _debug = debug


def _fail(message: str) -> None:
    """One line on stderr. What a file, a model or a name brought along cannot drive the terminal."""
    _let_go()
    with suppress(OSError):
        print(f"error: {printable(message)}", file=sys.stderr)


def _open_all() -> None:
    """A standard stream that was closed is one that cannot be read from or written to, and no file that is opened next takes
    its number. What is said on a closed stderr goes nowhere; Python would print it among the results.
    """
    for number, (name, mode) in enumerate((("stdin", os.O_WRONLY), ("stdout", os.O_RDONLY), ("stderr", os.O_WRONLY))):
        if getattr(sys, name) is None:
            file = os.open(os.devnull, mode)
            if file != number:
                os.dup2(file, number)
                os.close(file)
            stream = open(number, "r" if name == "stdin" else "w", encoding="utf-8", closefd=False)  # noqa: SIM115
            setattr(sys, name, stream)


def _let_go() -> None:
    """What stdout could not take is given up, or Python would try again when it ends, and complain."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _interrupted() -> NoReturn:
    _let_go()
    with suppress(OSError):
        print("interrupted", file=sys.stderr)
    sys.exit(INTERRUPTED)


def main() -> None:
    """Run the command line.

    Exit code 0; 1 for a mistake or a failed row, 2 for wrong usage, 3 for a target that `tune` cannot reach, 4 for
    drift that `monitor` finds, 130 for Ctrl-C.
    """
    _open_all()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal that cannot show a character shows its number
    try:
        app(prog_name="guardrail")  # also as python -m guardrail.cli, so that completion finds the command
    except GuardrailError as error:
        if _debug:
            raise
        _fail(str(error))
        sys.exit(1)
    except KeyboardInterrupt:
        _interrupted()
    except SystemExit as end:
        if end.code == INTERRUPTED:  # typer has made that of Ctrl-C, and says nothing
            _interrupted()
        raise
    except BrokenPipeError:  # the reader of a pipe went away: no mistake, and nowhere to say so
        _let_go()
        sys.exit(1)
    except RuntimeError as error:  # torch's own: out of memory, a device that failed
        if _debug:
            raise
        _fail(f"{' '.join(str(error).split())[:400]} (guardrail --debug shows where)")
        sys.exit(1)
    except MemoryError:
        if _debug:
            raise
        _fail("out of memory; give a smaller file, or run where there is more memory")
        sys.exit(1)
    except OSError as error:
        if _debug:
            raise
        unnamed = error.filename is None and error.errno in (errno.EBADF, errno.EIO, errno.ENOSPC)  # files have names
        where = f": {error.filename}" if error.filename else ""
        _fail(f"{'cannot write to standard output: ' if unnamed else ''}{error.strerror or error}{where}")
        sys.exit(1)
