"""What commands print where stdout is not UTF-8: JSON stays JSON, and text never ends in an error."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

ROWS = [
    {"prompt": "Say hello with an emoji.", "response": "Hello 😀 → café"},
    {"prompt": "दिल्ली?", "response": "भारत में"},
]


def run(*arguments, encoding, folder):
    return subprocess.run(
        [sys.executable, "-m", "guardrail.cli", *map(str, arguments)],
        capture_output=True,
        cwd=folder,
        timeout=180,
        env={
            **os.environ,
            "PYTHONIOENCODING": encoding,
            "PYTHONUTF8": "0",
            "CUDA_VISIBLE_DEVICES": "",
            "COLUMNS": "100",
        },
    )


@pytest.mark.parametrize("encoding", ["cp1252", "cp932", "ascii"])
def test_score_and_ask_print_json(tiny_folder, tmp_path, encoding):
    (tmp_path / "rows.jsonl").write_text(
        "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS), encoding="utf-8"
    )
    out = run("score", "rows.jsonl", "-m", tiny_folder, encoding=encoding, folder=tmp_path)
    assert out.returncode == 0, out.stderr
    done = [json.loads(line) for line in out.stdout.decode(encoding).splitlines()]
    assert [{key: row[key] for key in ("prompt", "response")} for row in done] == ROWS
    assert all("score" in row for row in done)
    (tmp_path / "p.yaml").write_text(
        "version: 1\nname: 'प 😀'\nrules: []\nwording: {abstain: 'नहीं 😀 → é'}\n", encoding="utf-8"
    )
    out = run(
        "ask", "Wo ist 😀?", "-m", tiny_folder, "--policy", "p.yaml", "--json", encoding=encoding, folder=tmp_path
    )
    assert out.returncode == 0, out.stderr
    assert json.loads(out.stdout.decode(encoding))["text"] == "नहीं 😀 → é"


@pytest.mark.parametrize("encoding", ["cp1252", "cp437", "cp932", "ascii", "latin-1", "utf-16"])
def test_text_is_printed_in_every_encoding(tmp_path, encoding):
    (tmp_path / "p.yaml").write_text("version: 1\nname: 'प 😀'\ndescription: 'é → 日本'\nrules: []\n", encoding="utf-8")
    for command in (
        ("policy", "show", "p.yaml"),
        ("policy", "check", "p.yaml"),
        ("policy", "explain", "p.yaml"),
        ("--help",),
    ):
        out = run(*command, encoding=encoding, folder=tmp_path)
        assert out.returncode == 0, (command, out.stderr)
        assert out.stdout.strip()
    assert run("policy", "show", "nöt 😀 there", encoding=encoding, folder=tmp_path).returncode == 1
