"""Engines that speak OpenAI's interface, started on this machine, and the four commands that are run against each."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from shutil import copytree
from typing import Any

import httpx

from tests.helpers.half_right import TOKENS
from tests.helpers.llama_server import llama_server
from tests.helpers.serving_process import ServingProcess

ENGINES = ("guardrail serve", "transformers serve", "llama.cpp")


@contextmanager
def engine(name: str, tiny: Path, place: Path) -> Iterator[str]:
    """One of `ENGINES`, while the block runs. tiny: the folder of a tiny model, which the first two serve; llama.cpp serves
    the embedded one. place: for its log. Yields the spec of the model behind it."""
    if name == "guardrail serve":
        with ServingProcess(tiny, place / "serve.log", "--policy", "observe") as server:
            server.ready()
            yield f"openai:{server.url}/v1#{tiny}"
    elif name == "transformers serve":
        with transformers_serve(_drawing(tiny, place / "drawing")) as spec:
            yield spec
    else:
        with llama_server() as spec:
            yield spec


def _drawing(tiny: Path, folder: Path) -> Path:
    """A copy that `transformers serve` draws from: a request's temperature switches nothing on that this file leaves off."""
    copytree(tiny, folder)
    settings = folder / "generation_config.json"
    settings.write_text(json.dumps({**json.loads(settings.read_text("utf-8")), "do_sample": True}), encoding="utf-8")
    return folder


@contextmanager
def transformers_serve(folder: Path) -> Iterator[str]:
    """`transformers serve` in a process of its own. Yields the spec of the model behind it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "transformers.cli.transformers", "serve", str(folder), "--device", "cpu"]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": ""}
    process = subprocess.Popen(
        [*command, "--port", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment
    )
    try:
        end = time.monotonic() + 300
        while not _healthy(port):
            assert process.poll() is None
            assert time.monotonic() < end
            time.sleep(0.2)
        yield f"openai:http://127.0.0.1:{port}/v1#{folder}"
    finally:
        process.kill()
        process.wait()


def _healthy(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/health").status_code == 200
    except httpx.HTTPError:
        return False


@dataclass(frozen=True, slots=True)
class Commands:
    """What the commands said of a model behind an endpoint: `model inspect` and `ask` their JSON, `calibrate` the file's,
    `evaluate` its JSON, `score` the row that it wrote."""

    inspected: dict[str, Any]
    calibrated: dict[str, Any]
    asked: dict[str, Any]
    evaluated: dict[str, Any]
    scored: dict[str, Any]


def commands(
    run: Callable[..., subprocess.CompletedProcess[str]], spec: str, data: Path, heldout: Path, place: Path, *more: str
) -> Commands:
    """Run `model inspect`, `calibrate`, `ask`, `evaluate` and `score`. run: the command line. more: such as `--score-with`."""
    place.mkdir()
    file, given, out = place / "c.json", place / "in.jsonl", place / "out.jsonl"
    given.write_text('{"prompt": "What is number 1?", "response": "It is 1."}\n', encoding="utf-8")
    model, short = ("--model", spec, *more), ("--max-new-tokens", str(TOKENS))

    def said(*arguments: Any) -> str:
        done = run(*arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout

    inspected = json.loads(said("model", "inspect", spec, *more, "--json"))
    # no sample of a random model says what its answer does, so the default has one value there
    few = () if inspected["log_probs"] else ("--scorer", "deg", "--samples", "2")
    said("calibrate", data, "-o", file, *model, *short, *few, "--no-cache")
    return Commands(
        inspected,
        json.loads(file.read_text(encoding="utf-8")),
        json.loads(said("ask", "What is number 1?", "-c", file, *model, *short, "--policy", "observe", "--json")),
        json.loads(said("evaluate", heldout, "-c", file, *model, "--json", "--no-cache")),
        json.loads((said("score", given, "-o", out, "-c", file, *model), out.read_text(encoding="utf-8"))[1]),
    )
