"""Fixtures that several test folders share: the embedded model (loaded once), a tiny model on disk, the command line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from guardrail.testing import tiny_model, tiny_tokenizer

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ["GUARDRAIL_ANSWERS"] = str(Path(tempfile.mkdtemp(prefix="guardrail-tests-")) / "answers.sqlite3")


def pytest_collection_modifyitems(items):
    """All tests of the embedded model run in one worker, which loads it once."""
    for item in items:
        if "real_model" in item.keywords:
            item.add_marker(pytest.mark.xdist_group("real_model"))


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
    from guardrail.cli.calibrate import DIRECT

    from guardrail import load_model

    local = load_model(str(folder), device="cpu")
    rows = []
    for i in numbers:
        question = f"What is number {i}?"
        said = local.generate(DIRECT.replace("{question}", question), max_new_tokens=6).text
        right = i % 2 == 0 and any(c.isalnum() for c in said)
        rows.append({"question": question, "answers": [said if right else "nothing like it"], "id": i})
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture
def cli(tmp_path):
    """Run the real command in a real process, in an empty folder: `cli("ask", "hello").stdout`."""

    def run(*arguments, stdin=None, timeout=180):
        return subprocess.run(
            [sys.executable, "-m", "guardrail.cli", *map(str, arguments)],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=timeout,
            cwd=tmp_path,
            env={**os.environ, "COLUMNS": "100", "NO_COLOR": "1", "CUDA_VISIBLE_DEVICES": ""},
        )

    return run
