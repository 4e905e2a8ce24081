"""The commands as functions: what Python gets is what a command prints or writes."""

from __future__ import annotations

import json

import pytest

import guardrail
from guardrail.errors import DataError


@pytest.fixture(scope="module")
def calibrator(command_line, tiny_folder, tiny_data, tmp_path_factory):
    """A calibrator of the tiny model's answers."""
    path = tmp_path_factory.mktemp("calibrator") / "c.json"
    done = command_line("calibrate", tiny_data, "-o", path, "-m", tiny_folder, "--max-new-tokens", 6)
    assert done.returncode == 0, done.stderr
    return path


@pytest.fixture(scope="module")
def local(tiny_folder):
    return guardrail.load_model(str(tiny_folder), device="cpu")


def test_evaluate(cli, local, tiny_folder, tiny_heldout, calibrator):
    printed = json.loads(
        cli("evaluate", tiny_heldout, "-c", calibrator, "-m", tiny_folder, "-p", "default", "--json").stdout
    )
    lines = []
    found = guardrail.evaluate(local, tiny_heldout, calibrator, ["default"], progress=lines.append)
    assert found.to_dict() == printed
    assert found.subject.calibrator == str(calibrator)
    assert any(line.startswith("questions answered: 60 of 60") for line in lines)


def test_tune(cli, local, tiny_folder, tiny_heldout, calibrator):
    options = {"max_error": 0.9, "confidence": 0.6}
    printed = cli(
        "tune", tiny_heldout, "-o", "cli.yaml", "-c", calibrator, "-m", tiny_folder, "--max-error", 0.9,
        "--confidence", 0.6, "--json",
    )  # fmt: skip
    found = guardrail.tune(local, tiny_heldout, output="python.yaml", calibrator=calibrator, **options)
    assert found.to_dict() == json.loads(printed.stdout)
    assert found.reached
    written = guardrail.Policy.load("cli.yaml")
    assert guardrail.Policy.load("python.yaml").proof == found.policy.proof
    assert written.proof.model_copy(update={"command": "guardrail.tune"}) == found.policy.proof
    assert guardrail.tune(local, tiny_heldout, calibrator=calibrator, **options).to_dict() == found.to_dict()


def test_a_mistake_shows_before_a_model_is_loaded(tiny_heldout):
    def never():
        raise AssertionError("loaded")

    for call in (
        lambda: guardrail.evaluate(never, "missing.jsonl"),
        lambda: guardrail.evaluate(never, tiny_heldout, resume=True),
        lambda: guardrail.tune(never, tiny_heldout, max_error=1.0),
        lambda: guardrail.tune(never, tiny_heldout, max_error=0.1, output="no/folder.yaml"),
    ):
        with pytest.raises(DataError):
            call()
