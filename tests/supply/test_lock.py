"""What `make demo` installs is pinned with the hashes of its files, and with the versions that everything else uses."""

from __future__ import annotations

import re

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.supply.lock import INSTALLERS, LOCK, ROOT, dependencies, models

LINES = LOCK.read_text(encoding="utf-8").replace(" \\\n", " ").splitlines()


def pins(lines):
    """Versions by name."""
    found = [Requirement(line.split("--hash")[0]) for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(each.name): str(each.specifier).removeprefix("==") for each in found}


LOCKED = pins(LINES)


def test_every_version_has_hashes_of_its_files():
    entries = [line for line in LINES if not line.startswith("#")]
    assert len(entries) > 60
    assert [line for line in entries if not re.search(r"==\S+.*( --hash=sha256:[0-9a-f]{64})+$", line)] == []


def test_the_versions_are_those_of_the_tests():
    ours = pins((ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines())
    assert {name: LOCKED[name] for name in LOCKED.keys() & ours.keys()} == {
        name: ours[name] for name in LOCKED.keys() & ours.keys()
    }


@pytest.mark.parametrize("requirement", [*dependencies(), *models(), *INSTALLERS])
def test_whatever_is_asked_for_is_locked(requirement):
    wanted = Requirement(requirement)
    assert wanted.specifier.contains(LOCKED[canonicalize_name(wanted.name)]), "run: make lock"


def test_the_demo_is_installed_from_the_lock_alone():
    recipe = (ROOT / "Makefile").read_text(encoding="utf-8").split("\n.venv/.installed: ")[1].split("\n\n")[0]
    installs = [
        line for line in recipe.splitlines() if "$(LOCKED)" in line or "$(PIP)" in line or "pip install" in line
    ]
    assert len(installs) == 4
    by_hash = [line for line in installs if "$(LOCKED)" in line or "--require-hashes" in line]
    assert [line for line in installs if line not in by_hash] == [
        "\t$(EDITABLE) $(PIP) --no-deps --no-build-isolation -e ."
    ]
