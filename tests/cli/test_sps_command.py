"""`guardrail sps` and `guardrail calibrate --profile` on a tiny model on disk: one real process, the others in this one."""

from __future__ import annotations

import json
import re
import sys

import pytest
from typer.testing import CliRunner

from guardrail.calibration.sps_profile import SpsProfile
from guardrail.cli.main import app
from guardrail.errors import GuardrailError


@pytest.fixture
def rows(tmp_path):
    made = [
        {"question": f"What is number {i}?", "paraphrases": [f"Number {i} is what?", f"Say {i}!"]} for i in range(12)
    ]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in made))


@pytest.fixture
def here(tmp_path, monkeypatch):
    """Run a command in this process, which has torch in memory already, in an empty folder: its output, or its error."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")

    def run(*arguments):
        given = list(map(str, arguments))
        monkeypatch.setattr(sys, "argv", ["guardrail", *given])
        result = CliRunner().invoke(app, given)
        if isinstance(result.exception, GuardrailError):
            raise result.exception
        assert result.exit_code == 0, result.output
        return result.output

    return run


def test_a_profile_a_page_and_a_calibrator_of_it(here, rows, tiny_folder, tiny_data, tmp_path):
    shown = here("sps", "rows.jsonl", "-o", "p.json", "-m", tiny_folder, "--html", "p.html", "--paraphrases", "1")
    found = SpsProfile.load(tmp_path / "p.json")
    assert (found.data.name, found.data.questions, found.data.paraphrases) == ("rows.jsonl", 12, 12)
    assert found.command.startswith("guardrail sps rows.jsonl -o p.json")
    for part in (
        f"proposed token {found.token}",
        f"{found.token}*",
        "h(4)",
        "SPS of 12 questions",
        "written to p.html",
    ):
        assert part in shown
    assert (tmp_path / "p.html").read_text().startswith("<!doctype html>")

    def fitted():
        return json.loads((tmp_path / "c.json").read_text())["provenance"]["profile"]

    calibrate = [
        "calibrate",
        tiny_data,
        "-o",
        "c.json",
        "-m",
        tiny_folder,
        "--grader",
        "exact",
        "--max-new-tokens",
        "6",
    ]
    here(*calibrate, "--profile", "p.json", "--paper")
    assert (fitted()["token"], fitted()["scale"], fitted()["reduction"]) == (found.token, "raw", "mean")
    assert fitted()["token_source"] == "SPS of 12 questions (rows.jsonl)"
    here(*calibrate, "--profile", "p.json", "--resume")
    assert fitted()["token"] == found.token

    with pytest.raises(GuardrailError, match="was measured with the prompt 'Please directly"):
        here(*calibrate, "--profile", "p.json", "--prompt", "Well: {question}", "--run", "other.jsonl")
    found.model_copy(update={"model": found.model.model_copy(update={"weights": "0" * 64})}).save(tmp_path / "o.json")
    with pytest.raises(GuardrailError, match="another model: weights 0000000000000000"):
        here(*calibrate, "--profile", "o.json", "--run", "other.jsonl")


def test_json_and_standard_input(cli, rows, tiny_folder, tmp_path):
    text = (tmp_path / "rows.jsonl").read_text()
    out = cli("sps", "-", "-o", "p.json", "-m", tiny_folder, "--limit", "3", "--json", stdin=text)
    assert out.returncode == 0, out.stderr
    assert json.loads(out.stdout) == json.loads((tmp_path / "p.json").read_text())
    assert json.loads(out.stdout)["evidence"] is None


def test_a_model_that_cannot_paraphrase_is_refused_and_nothing_is_lost(here, rows, tiny_folder, tmp_path):
    with (tmp_path / "rows.jsonl").open("a") as file:
        file.write('{"question": "Alone?"}\n')
    command = ("sps", "rows.jsonl", "-o", "p.json", "-m", tiny_folder, "--paraphrase-with", tiny_folder)
    with pytest.raises(GuardrailError, match=r"1 of 1 questions got fewer than 2 paraphrases; the first is 'Alone\?'"):
        here(*command)
    kept = [json.loads(line) for line in (tmp_path / "p.json.paraphrases.jsonl").read_text().splitlines()]
    assert [len(row["paraphrases"]) for row in kept] == [2] * 12 + [0]
    assert not (tmp_path / "p.json").exists()
    with pytest.raises(GuardrailError, match="is there already; give it as the data"):
        here(*command)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["gone.jsonl", "-o", "p.json"], "gone.jsonl: cannot read it"),
        (["bundled", "-o", "no/p.json"], "there is no folder 'no'"),
        (["bundled", "-o", "p.json", "--html", "p.json"], "must be different files"),
        (["rows.jsonl", "-o", "rows.jsonl"], "must be different files"),
        (["bundled", "-o", "p.json", "--prompt", "Well?"], "does not say where the {question} goes"),
        (["bundled", "-o", "p.json", "--paraphrases-out", "x"], "add --paraphrase-with SPEC"),
        (["bundled", "-o", "p.json", "-m", "no/such/model/here"], "is no alias"),
    ],
)
def test_a_mistake_is_found_before_any_model_is_loaded(here, rows, monkeypatch, arguments, message):
    monkeypatch.setattr("guardrail.model.loading.load_model", lambda *_, **__: pytest.fail("a model was loaded"))
    with pytest.raises(GuardrailError, match=re.escape(message)):
        here("sps", *arguments)


def test_a_calibration_refuses_what_is_no_profile(here, rows):
    with pytest.raises(GuardrailError, match=r"rows\.jsonl: not an SPS profile"):
        here("calibrate", "bundled", "-o", "c.json", "--profile", "rows.jsonl")


def test_the_map_in_colour_and_without(monkeypatch):
    from io import StringIO

    from rich.console import Console

    from guardrail.cli.heat_map import heat_map

    def drawn(**options):
        console = Console(file=StringIO(), width=60, legacy_windows=False, **options)
        console.print(
            heat_map(console, [[0.5, -0.2], [0.0, 1.0]], rows=["a", "b"], columns=["-2", "-1"], corner="x", marked=1)
        )
        return console.file.getvalue()

    monkeypatch.delenv("NO_COLOR", raising=False)
    plain = drawn(color_system=None)
    assert [line.split() for line in plain.splitlines()] == [
        ["x", "-2", "-1*"],
        ["a", ".50", "-.20"],
        ["b", ".00", "1.00"],
    ]
    coloured = drawn(color_system="256", force_terminal=True)
    for code in ("48;5;153", "48;5;223", "48;5;75"):  # half of the largest, below zero, the largest
        assert code in coloured
