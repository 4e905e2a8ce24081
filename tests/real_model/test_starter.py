"""The starter of `guardrail init` runs as it stands on the embedded model."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.real_model, pytest.mark.slow, pytest.mark.timeout(1200)]


def test_the_starter_runs_as_it_stands(cli, tmp_path):
    cli("init", "start")
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    out = subprocess.run(
        ["sh", "commands.sh"],
        cwd=tmp_path / "start",
        env={**os.environ, "PATH": path, "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
    )
    assert out.returncode == 0, out.stderr
    assert "no problems" in out.stdout
    assert "policy mine, rule" in out.stdout
    assert "policy tuned, rule 'proven'" in out.stdout
