"""What every command that runs a model does first: quiet libraries, progress on stderr."""

from __future__ import annotations

import logging
import os
import shlex
import sys
import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from guardrail import files
from guardrail.cli.render import printable
from guardrail.errors import DataError
from guardrail.json_text import parse
from guardrail.waiting import rate

if TYPE_CHECKING:
    import typer
    from rich.console import Console

    from guardrail.model.local import LocalModel
    from guardrail.policy import Policy
    from guardrail.runs.cluster import Cluster


def say(line: str) -> None:
    """One line of progress, on stderr so that stdout stays the result."""
    print(f"… {printable(line)}", file=sys.stderr, flush=True)


def quiet_libraries() -> None:
    """No progress bars or advice from transformers and its kind; their errors become ours."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    import transformers

    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    for name in ("sentence_transformers", "huggingface_hub"):  # the hub's tells of each of its tries
        logging.getLogger(name).setLevel(logging.ERROR)


def load(
    spec: str,
    device: str | None,
    dtype: str | None,
    chat_template: Path | None,
    switches: str | None = None,
    score_with: str | None = None,
) -> LocalModel:
    """The model, with a line of progress before each slow step."""
    from guardrail.model.spec import resolve

    template = read_text(chat_template) if chat_template else None
    given = _switches(switches)
    for name in filter(None, (spec, score_with)):
        resolve(name)  # a misspelt one fails before torch is imported
    say("starting torch and transformers")
    quiet_libraries()
    from guardrail.model.loading import load_model

    return load_model(
        spec,
        device=device,
        dtype=dtype,
        chat_template=template,
        chat_template_kwargs=given,
        progress=say,
        score_with=score_with,
    )


def load_second(spec: str, device: str | None, dtype: str | None) -> LocalModel:
    """The model of `--escalate-to`. --device and --dtype are for what is loaded here; behind an endpoint they mean nothing."""
    from guardrail.model.spec import resolve

    here = resolve(spec).kind != "endpoint"
    return load(spec, device if here else None, dtype if here else None, None)


def check_escalation(policy: Policy, spec: str | None, calibrator: Path | None) -> None:
    """Raise `DataError` for a second model that is never asked, and for a calibrator without one."""
    if spec is None and calibrator is not None:
        raise DataError("--escalate-calibrator is for the second model; add --escalate-to SPEC, or leave it out")
    if spec is not None and not policy.escalates:
        raise DataError(f"policy {policy.name!r} never escalates; leave --escalate-to out, or take another --policy")


def _switches(text: str | None) -> dict[str, object] | None:
    try:
        given = None if text is None else parse(text)
    except ValueError:
        given = text
    if given is not None and not isinstance(given, dict):
        raise DataError(
            f"--chat-template-kwargs is {text!r:.80}; give a JSON object such as '{{\"enable_thinking\": false}}'"
        )
    return given


def cluster(address: str | None, workers: int | None, cpus: int | None, gpus: float | None) -> Cluster | None:
    """Where the rows are worked on; None is this process. Raises `DataError` for workers without --ray."""
    given = {"workers": workers, "worker-cpus": cpus, "worker-gpus": gpus}
    if address is None:
        if option := next((name for name, value in given.items() if value is not None), None):
            raise DataError(f"--{option} is for workers on Ray; say where: --ray local, or the address of a cluster")
        return None
    from guardrail.runs.cluster import Cluster

    usual = Cluster()
    return Cluster(address, workers or usual.workers, cpus or usual.cpus, usual.gpus if gpus is None else gpus)


def refuse_beside(context: typer.Context, option: str, others: Collection[str]) -> None:
    """Raise `DataError` for an option that was given beside `option` and has no meaning there; `others` have one."""
    for name in context.params:
        source = context.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE" and name != option and name not in others:
            raise DataError(
                f"--{name.replace('_', '-')} does not go with --{option}: the chain itself says how its model is loaded and "
                "asked; leave it out"
            )


def read_text(path: Path) -> str:
    """The text of a file that the user named. Raises `DataError`."""
    try:
        return files.read_text(path)
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read {str(path)!r}: {getattr(error, 'strerror', None) or error}") from error


def read_object(path: Path, what: str) -> dict[str, Any]:
    """The JSON object in a file that the user named. what: "a JSON schema", say. Raises `DataError`."""
    text = read_text(path)
    try:
        found = parse(text)
    except ValueError as error:
        raise DataError(f"{str(path)!r} is not JSON: {error}") from error
    if not isinstance(found, dict):
        raise DataError(f"{str(path)!r} holds {type(found).__name__}, and {what} is an object")
    return found


def command() -> str:
    """The command line as it was given, for records; `--resume` is no part of it."""
    return shlex.join(["guardrail", *(a for a in sys.argv[1:] if a != "--resume")])


def counter(what: str, every: float = 2.0) -> Callable[[int, int, float], None]:
    """`guardrail.runs.progress.counter`, on stderr."""
    from guardrail.runs.progress import counter

    return counter(what, say, every)


def passage_counter() -> Callable[[int, int], None]:
    """`counter` for callbacks without a rate."""
    report, start = counter("passages indexed"), time.perf_counter()
    return lambda done, total: report(done, total, rate(done, start))


def console() -> Console:
    """For tables and colours on stdout; plain when stdout is no terminal."""
    from rich.console import Console

    return Console(highlight=False, emoji=False, soft_wrap=not sys.stdout.isatty())
