"""The command line in this process, where torch is loaded already."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from typer.testing import CliRunner

from guardrail.cli.main import main

TERMINAL = {"COLUMNS": "100", "NO_COLOR": "1"}


def command_line(*arguments: Any, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run `guardrail` with these arguments, on the CPU."""
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
