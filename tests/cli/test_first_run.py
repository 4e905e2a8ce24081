"""The commands of a first day: `doctor`, `init`, the end of `demo`, and completion in the shell."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

from guardrail.cli import demo
from guardrail.datasets.questions import load_data, question_digest
from guardrail.evaluation import doctor
from guardrail.policy import Policy

ROOT = Path(__file__).parents[2]


def test_doctor_finds_packages_devices_models_extras_and_calibrators(cli):
    out = cli("doctor", "--json")
    found = json.loads(out.stdout)
    assert out.returncode == (0 if found["ok"] else 1)
    assert found["devices"][0]["name"] == "cpu"
    assert {"torch", "transformers", "langchain-core"} <= {p["name"] for p in found["packages"]}
    assert "shipped:smollm2-135m" in [c["name"] for c in found["calibrators"]]
    assert found["fitting"] is None
    printed = cli("doctor")
    assert printed.returncode == out.returncode
    for title in ("packages", "devices", "models", "extras", "calibrators"):
        assert f"\n{title}\n" in printed.stdout


def test_doctor_describes_every_extra():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert set(doctor.EXTRAS) == set(project["optional-dependencies"])


def test_doctor_makes_a_line_of_a_broken_package(cli, monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    out = cli("doctor", "-m", "no-such/model")
    assert out.returncode == 1
    (line,) = [line for line in out.stdout.splitlines() if line.startswith("problem: ")]
    assert line.startswith("problem: the package transformers ")
    assert "cannot be imported" in line
    assert "; run: pip install --force-reinstall 'transformers" in line
    assert "Traceback" not in out.stdout + out.stderr


def test_doctor_makes_a_line_of_a_missing_package_and_of_an_old_one(cli, monkeypatch):
    def version(name, real=metadata.version):
        if name == "torch":
            raise metadata.PackageNotFoundError(name)
        return "4.57.0" if name == "transformers" else real(name)

    monkeypatch.setattr(metadata, "version", version)
    out = cli("doctor")
    lines = [line for line in out.stdout.splitlines() if line.startswith("problem: ")]
    assert out.returncode == 1
    assert lines[0].startswith("problem: the package torch is not installed; run: pip install 'torch")
    assert lines[1].startswith("problem: the package transformers is 4.57.0, and ")


def test_doctor_says_what_differs(cli, tiny_folder):
    out = cli("doctor", "-m", tiny_folder, "-c", "shipped:smollm2-135m", "--json")
    found = json.loads(out.stdout)
    assert out.returncode == 1
    assert found["fitting"]["calibrator"] == "shipped:smollm2-135m"
    weights, template = found["fitting"]["differences"]
    assert weights.startswith("the weights are others (fitted on smollm2-135m, LlamaForCausalLM, ")
    assert template.startswith("the chat template is another one ")
    assert found["problems"][-1]["remedy"].startswith("run: guardrail calibrate DATA.jsonl -o calibrator.json --model ")
    other = json.loads(cli("doctor", "-m", tiny_folder, "--dtype", "bfloat16", "--json").stdout)
    assert other["fitting"]["calibrator"] is None
    assert "none is shipped" in other["problems"][-1]["what"]


def test_doctor_reports_a_model_or_calibrator_that_is_not_there(cli, tiny_folder):
    for arguments in (("-m", "./nowhere.gguf"), ("-m", tiny_folder, "-c", "nowhere.json")):
        out = cli("doctor", *arguments)
        assert out.returncode == 1
        assert "nowhere" in [line for line in out.stdout.splitlines() if line.startswith("problem: ")][-1]


def test_init_writes_a_starter_that_loads(cli):
    out = cli("init", "a/my start")
    assert out.returncode == 0
    assert "cd 'a/my start' && sh commands.sh" in out.stdout
    folder = Path("a/my start")
    assert {path.name for path in folder.iterdir()} == {"commands.sh", "policy.yaml", "questions.jsonl"}
    policy = Policy.load(folder / "policy.yaml")
    assert (policy.name, policy.warnings) == ("mine", ())
    rows = load_data(str(folder / "questions.jsonl"), "calibration").rows
    assert len(rows) == 12
    bundled = {
        question_digest(row.question)
        for split in ("calibration", "heldout")
        for row in load_data("bundled", split).rows
    }
    assert not bundled & {question_digest(row.question) for row in rows}
    assert cli("data", "split", folder / "questions.jsonl", "-o", "parts").returncode == 0
    subprocess.run(["sh", "-n", folder / "commands.sh"], check=True)


def test_the_commands_of_the_starter_run_one_after_another(cli, tiny_folder, tiny_data, tiny_heldout):
    """On a tiny model in this process; tests/real_model/test_starter.py runs them as they stand."""
    cli("init", ".")
    values = {"MODEL": tiny_folder, "CALIBRATION": tiny_data, "TUNING": tiny_heldout, "TEST": tiny_heldout}
    values |= {"LIMIT": 90, "MAX_ERROR": 0.9999}
    commands = [
        shlex.split(line) for line in Path("commands.sh").read_text().splitlines() if line.startswith("guardrail ")
    ]
    assert [c[1] for c in commands] == ["doctor", "policy", "calibrate", "evaluate", "tune", "ask", "ask"]
    for _, *arguments in commands:
        out = cli(*(values[a[1:]] if a.startswith("$") else a for a in arguments))
        assert out.returncode == 0, (arguments, out.stderr)
    assert Policy.load("tuned.yaml").proof is not None


@pytest.mark.parametrize("name", ["policy.yaml", "questions.jsonl", "commands.sh"])
def test_init_overwrites_nothing(cli, name):
    Path(name).write_text("mine")
    out = cli("init", ".")
    assert (out.returncode, out.stdout) == (1, "")
    assert out.stderr == f"error: {name} exists, and nothing is overwritten; give another folder, or move the file\n"
    assert [(path.name, path.read_text()) for path in Path().iterdir()] == [(name, "mine")]


def test_init_needs_a_folder(cli):
    Path("file").write_text("")
    assert cli("init", "file").stderr == "error: 'file' is a file; give a folder\n"
    assert cli("init", "file/below").stderr.startswith("error: cannot make the folder 'file/below': ")


def test_the_demo_ends_with_commands_that_fit(cli):
    lines = demo.NEXT.splitlines()
    assert max(map(len, lines)) <= demo.WIDTH
    for line in lines:
        if line.startswith("  guardrail "):
            assert cli(line.split()[1], "--help").returncode == 0


def test_the_shell_completes_commands():
    """Asked for by the variable, as the script does: `--show-completion` looks for the shell among its parents."""
    for shell in ("bash", "zsh", "fish", "powershell"):
        script = completed(_GUARDRAIL_COMPLETE=f"source_{shell}")
        assert "_GUARDRAIL_COMPLETE" in script
        assert f"complete_{shell}" in script
    asked = completed(_GUARDRAIL_COMPLETE="complete_bash", COMP_WORDS="guardrail do", COMP_CWORD="1")
    assert asked.split() == ["doctor"]


def completed(**variables: str) -> str:
    command = [sys.executable, "-m", "guardrail.cli"]
    out = subprocess.run(command, env={**os.environ, **variables}, capture_output=True, text=True, timeout=60)
    assert out.returncode == 0, out.stderr
    return out.stdout
