"""Fixtures that several test folders share: the embedded model (loaded once), a tiny model on disk, the command line."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest
from hypothesis import settings
from typer.testing import CliRunner

from guardrail.cli.main import main
from guardrail.testing import tiny_model, tiny_tokenizer

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
_ANSWERS = tempfile.TemporaryDirectory(prefix="guardrail-tests-")  # goes when the process ends
os.environ["GUARDRAIL_ANSWERS"] = str(Path(_ANSWERS.name) / "answers.sqlite3")

settings.register_profile("busy machine", deadline=None)  # the first call of a test may wait for the other worker
settings.load_profile("busy machine")
TERMINAL = {"COLUMNS": "100", "NO_COLOR": "1"}


def pytest_collection_modifyitems(items):
    """All tests of the embedded model run in one worker, which loads it once."""
    for item in items:
        if "real_model" in item.keywords:
            item.add_marker(pytest.mark.xdist_group("real_model"))


@pytest.fixture(autouse=True)
def _loggers_as_they_were():
    """A server in this process sets them up for its own; what it leaves would print texts of later tests."""
    loggers = [
        logging.getLogger(name)
        for name in ("guardrail", "guardrail.server", "uvicorn", "asyncio", "ContinuousBatchingLogger")
    ]
    before, hook = [(list(each.handlers), each.propagate, each.level) for each in loggers], threading.excepthook
    yield
    for logger, (handlers, propagate, level) in zip(loggers, before, strict=True):
        logger.handlers, logger.propagate = handlers, propagate
        logger.setLevel(level)
    threading.excepthook = hook


@pytest.fixture(scope="session")
def embedded_model():
    """SmolLM2-135M-Instruct from the wheel; the tests that use it are marked `real_model`."""
    from guardrail import load_model

    return load_model("smollm2-135m", device="cpu")


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory) -> Path:
    """A tiny random chat model, saved as a user would have one."""
    folder = tmp_path_factory.mktemp("tiny-model")
    tiny_model(vocab_size=261).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_data(tiny_folder, tmp_path_factory) -> Path:
    """Questions of which the tiny model gets about half right, since its own answers are the accepted ones."""
    return _questions(tiny_folder, range(90), tmp_path_factory.mktemp("data") / "questions.jsonl")


@pytest.fixture(scope="session")
def tiny_heldout(tiny_folder, tmp_path_factory) -> Path:
    """The same kind of questions, none of them in `tiny_data`."""
    return _questions(tiny_folder, range(90, 150), tmp_path_factory.mktemp("data") / "heldout.jsonl")


def _questions(folder, numbers, path) -> Path:
    from guardrail import load_model
    from guardrail.runs.prompts import DIRECT

    local = load_model(str(folder), device="cpu")
    rows = []
    for i in numbers:
        question = f"What is number {i}?"
        said = local.generate(DIRECT.replace("{question}", question), max_new_tokens=6).text
        right = i % 2 == 0 and any(c.isalnum() for c in said)
        rows.append({"question": question, "answers": [said if right else "nothing like it"], "id": i})
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def command_line():
    """Run the command in this process, where torch is loaded already: `command_line("ask", "hello").stdout`."""

    def run(*arguments, stdin=None):
        with pytest.MonkeyPatch.context() as patch, CliRunner().isolation(input=stdin) as (stdout, stderr, _):
            patch.setattr(sys, "argv", ["guardrail", *map(str, arguments)])
            patch.setattr("torch.cuda.is_available", lambda: False)
            for name, value in TERMINAL.items():
                patch.setenv(name, value)
            code = 0
            try:
                main()
            except SystemExit as stop:
                code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
            sys.stdout.flush()
            sys.stderr.flush()
            out, err = (stream.getvalue().decode() for stream in (stdout, stderr))
            return subprocess.CompletedProcess(sys.argv, code, out, err)

    return run


@pytest.fixture
def cli(command_line, tmp_path, monkeypatch):
    """`command_line` in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return command_line


@pytest.fixture
def process(tmp_path):
    """The same in a real process of its own."""

    def run(*arguments, stdin=None, timeout=180):
        return subprocess.run(
            [sys.executable, "-m", "guardrail.cli", *map(str, arguments)],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=timeout,
            cwd=tmp_path,
            env={**os.environ, **TERMINAL, "CUDA_VISIBLE_DEVICES": ""},
        )

    return run
