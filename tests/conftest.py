"""Fixtures that several test folders share: the embedded model (loaded once), a tiny model on disk, the command line."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest
from hypothesis import settings

from guardrail.testing import tiny_model, tiny_tokenizer
from tests.helpers.command_line import TERMINAL
from tests.helpers.command_line import command_line as run_here

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
_ANSWERS = tempfile.TemporaryDirectory(prefix="guardrail-tests-")  # goes when the process ends
os.environ["GUARDRAIL_ANSWERS"] = str(Path(_ANSWERS.name) / "answers.sqlite3")

settings.register_profile("busy machine", deadline=None)  # the first call of a test may wait for the other worker
settings.load_profile("busy machine")


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
    return _half_right(tiny_folder, range(90), tmp_path_factory.mktemp("data") / "questions.jsonl")


@pytest.fixture(scope="session")
def tiny_heldout(tiny_folder, tmp_path_factory) -> Path:
    """The same kind of questions, none of them in `tiny_data`."""
    return _half_right(tiny_folder, range(90, 150), tmp_path_factory.mktemp("data") / "heldout.jsonl")


def _half_right(folder, numbers, path) -> Path:
    from guardrail import load_model
    from tests.helpers.half_right import half_right

    return half_right(load_model(str(folder), device="cpu"), numbers, path)


@pytest.fixture(scope="session")
def command_line():
    """Run the command in this process: `command_line("ask", "hello").stdout`."""
    return run_here


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
