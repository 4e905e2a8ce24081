"""The wheel installs one package at top level, with its policies, data and command."""

from __future__ import annotations

import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    files = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    for name in files.stdout.splitlines():
        if (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(source)]
    built = subprocess.run(command, capture_output=True, text=True)
    assert built.returncode == 0, built.stdout + built.stderr
    lines = (built.stdout + built.stderr).splitlines()
    assert not [x for x in lines if "warning" in x.lower() and "byte-compiling" not in x]  # PYTHONDONTWRITEBYTECODE
    return zipfile.ZipFile(next(out.glob("*.whl")))


def test_one_package_at_top_level(wheel):
    assert {name.split("/")[0] for name in wheel.namelist()} == {"guardrail", "hybridgrad_guardrail-0.1.0.dist-info"}


def test_every_folder_is_listed_as_a_package():
    setuptools = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
    folders = {
        ".".join([package, *path.relative_to(ROOT / folder).parent.parts])
        for package, folder in setuptools["package-dir"].items()
        for path in (ROOT / folder).rglob("*.*")
        if path.is_file() and path.suffix != ".pyc"
    }
    assert setuptools["packages"] == sorted(f for f in folders if not f.startswith("guardrail.data.build"))


def test_everything_is_in_it(wheel):
    names = set(wheel.namelist())
    for source, target in (("guardrail", "guardrail"), ("cli", "guardrail/cli"), ("policies", "guardrail/policies")):
        for path in (ROOT / source).rglob("*"):
            if (
                path.suffix in (".py", ".yaml", ".jsonl", ".json", ".csv", ".typed", ".html", ".css", ".js", ".sh")
                and ".run." not in path.name
                and "build" not in path.relative_to(ROOT / source).parts  # makes the data, and stays here
            ):
                assert f"{target}/{path.relative_to(ROOT / source)}" in names
    assert not [name for name in names if name.startswith("guardrail/data/build")]
    entry = next(name for name in names if name.endswith("entry_points.txt"))
    assert "guardrail = guardrail.cli.main:main" in wheel.read(entry).decode()
