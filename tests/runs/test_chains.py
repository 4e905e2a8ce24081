"""A chain is the user's own code: what ends a process, or never begins, is an error in words."""

from __future__ import annotations

import os

import pytest

from guardrail.errors import DataError
from guardrail.runs.chains import chain_of


@pytest.mark.parametrize("code", ["import sys\nsys.exit(0)", "raise SystemExit", "exit()", "1 / 0", "chain = ("])
def test_code_that_does_not_come_to_its_end_is_no_success(code, tmp_path, monkeypatch):
    (tmp_path / "ends.py").write_text(code)
    (tmp_path / "module_that_ends.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    for place in (tmp_path / "ends.py", "module_that_ends"):
        with pytest.raises(DataError, match=r"cannot be run: (SystemExit|ZeroDivisionError|SyntaxError)"):
            chain_of(f"{place}:chain")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs FIFOs")
def test_what_is_no_ordinary_file_is_not_run(tmp_path):
    os.mkfifo(tmp_path / "fifo.py")
    (tmp_path / "zero.py").symlink_to("/dev/zero")
    for name in ("fifo.py", "zero.py"):
        with pytest.raises(DataError, match="there is no file"):
            chain_of(f"{tmp_path / name}:chain")
