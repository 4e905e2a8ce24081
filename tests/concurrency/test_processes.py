"""Two processes on one file: one waits, or is refused in words; no line is torn, none is lost."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pytest

from guardrail.model.spec import resolve
from guardrail.monitoring.entries import entries
from guardrail.runs.run_file import read_run

RUN = """
import sys, time
from guardrail.errors import DataError
from guardrail.runs.run_file import RunFile
name, path = sys.argv[1:]
refused = 0
for i in range(40):
    while True:
        try:
            with RunFile(path, {"kind": "test"}, resume=True) as run:
                run.add([{"key": f"{name}{i}", "answer": "long " * 2000}])
            break
        except DataError as error:
            assert "is being written by another process; wait for it" in str(error), error
            refused += 1
            time.sleep(0.002)
print(refused)
"""
LOG = """
import sys
sys.path.insert(0, sys.argv[2])
from guardrail.observers.protocol import Observation
from guardrail.observers.verdict_log import VerdictLog
from tests.helpers import sample_verdicts
log = VerdictLog(sys.argv[1], text=True)
verdict = sample_verdicts.city()
for _ in range(100):
    log(Observation(({"role": "user", "content": "long " * 2000},), verdict, ()))
"""
COPY = "import sys; from guardrail.model.gguf import dense_copy; print(dense_copy(__import__('pathlib').Path(sys.argv[1])))"


def started(code, *arguments, **environment):
    command = [sys.executable, "-c", code, *map(str, arguments)]
    env = {**os.environ, "CUDA_VISIBLE_DEVICES": "", **environment}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env)


def done(*processes):
    """What each printed, once all have ended well."""
    ended = [(*process.communicate(timeout=180), process.returncode) for process in processes]
    assert [(code, error[-500:]) for _, error, code in ended if code] == []
    return [out.strip() for out, _, _ in ended]


def test_writers_of_one_run_file_take_turns(tmp_path):
    path = tmp_path / "run.jsonl"
    done(*(started(RUN, name, path) for name in "abc"))
    header, rows = read_run(path)
    assert header == {"kind": "test"}
    assert sorted(row["key"] for row in rows.values()) == sorted(f"{name}{i}" for name in "abc" for i in range(40))


def test_a_killed_writer_leaves_the_run_file_to_the_next(tmp_path):
    path = tmp_path / "run.jsonl"
    holding = started(
        "import sys; from guardrail.runs.run_file import RunFile\n"
        "with RunFile(sys.argv[1], {'kind': 'test'}) as run:\n"
        "    for i in range(10**9):\n"
        "        run.add([{'key': str(i)}])\n"
        "        if i == 50: print('writing', flush=True)",
        path,
    )
    assert holding.stdout.readline() == "writing\n"
    holding.send_signal(signal.SIGKILL)
    holding.communicate(timeout=60)
    done(started(RUN, "a", path))
    keys = [row["key"] for row in read_run(path)[1].values()]
    written = keys[:-40]
    assert written == [str(i) for i in range(len(written))]
    assert len(written) > 50
    assert keys[-40:] == [f"a{i}" for i in range(40)]


def test_writers_of_one_log_wait_for_each_other(tmp_path):
    path = tmp_path / "verdicts.jsonl"
    done(*(started(LOG, path, os.getcwd()) for _ in range(3)))
    assert len(path.read_bytes().splitlines()) == 300
    assert [each is None for each in entries(str(path), "answer")] == [False] * 300
    assert {json.loads(line)["action"] for line in path.read_bytes().splitlines()} == {"answer"}


@pytest.mark.slow
@pytest.mark.real_model
def test_processes_that_copy_one_model_end_with_one_copy(tmp_path):
    """Each reads the embedded model's GGUF file and writes it densely; the first to end wins, the others take its copy."""
    source = resolve("smollm2-135m")
    assert source.kind == "gguf"
    folders = done(*(started(COPY, source.location, GUARDRAIL_CACHE=str(tmp_path)) for _ in range(2)))
    assert folders[0] == folders[1]
    assert [os.fspath(each) for each in tmp_path.rglob("*.safetensors")] == [
        os.path.join(folders[0], "model.safetensors")
    ]
    assert {each.name for each in tmp_path.rglob("*") if each.is_dir()} <= {"dense", os.path.basename(folders[0])}
