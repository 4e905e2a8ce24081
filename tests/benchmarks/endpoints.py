"""What each engine allows: the four commands against three that run on this machine."""

from __future__ import annotations

import tempfile
from importlib.metadata import version
from pathlib import Path

from guardrail import load_model
from tests.benchmarks.serve_soak import save_model
from tests.helpers.command_line import command_line
from tests.helpers.engines import ENGINES, Commands, commands, engine
from tests.helpers.half_right import half_right

FITTED, HELD_OUT = range(40), range(40, 55)


def endpoints() -> None:
    """Print the table. The first two engines serve a tiny random model, llama.cpp the embedded one."""
    print(f"transformers {version('transformers')}, xllamacpp {version('xllamacpp')}\n")
    print("| engine | log-probabilities, alternatives a token | `calibrate` takes | `ask` | `evaluate`, answers "
          "| `score` of a text that exists | scorers |")  # fmt: skip
    print("|" + " --- |" * 7, flush=True)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        tiny = save_model(place / "tiny")
        for name in ENGINES:
            with engine(name, tiny, place) as spec:
                model = load_model(spec)
                data, heldout = (half_right(model, n, place / f"{name}-{n[0]}.jsonl") for n in (FITTED, HELD_OUT))
                _row(f"`{name}`", commands(command_line, spec, data, heldout, place / name))


def _row(name: str, said: Commands) -> None:
    told = f"yes, {said.inspected['top_log_probs']}" if said.inspected["log_probs"] else "no, none"
    scored = said.scored["score"]
    unread = f"`{scored['unscored']}`" if "unscored" in scored else f"{scored['number']:.2f}"
    cells = [
        name,
        told,
        f"`{said.calibrated['provenance']['scorer']}`",
        str(said.asked["basis"]),
        str(said.evaluated["n"]),
        unread,
        str(len(said.inspected["scorers"])),
    ]
    print(f"| {' | '.join(cells)} |", flush=True)
