"""A verdict log that is rotated: by size, so many files, and no line lost where processes share it."""

from __future__ import annotations

import json
import multiprocessing

import pytest

from guardrail import Attempt, Confidence, Decision, Score, Verdict, VerdictLog
from guardrail.errors import DataError
from guardrail.observers.protocol import Observation


def observation(tick):
    score = Score(1.0, 1.0, 1.0, 1.0, 2.0, 3)
    attempt = Attempt("Paris", score, Confidence(0.9, 0.8, 0.95, "very high"), Decision("answer", "sure", "x"), "stop")
    return Observation((), Verdict("Paris", (attempt,), {"generate": float(tick)}, "m", None, "p"), ())


def ticks(folder):
    lines = [line for path in folder.iterdir() for line in path.read_text().splitlines()]
    return sorted(json.loads(line)["timing_ms"]["generate"] for line in lines)


def write(path, start):
    log = VerdictLog(path, max_bytes=4000, keep=200)
    for tick in range(start, start + 100):
        log(observation(tick))


def test_two_processes_that_rotate_lose_no_line(tmp_path):
    spawn = multiprocessing.get_context("fork")
    writers = [spawn.Process(target=write, args=(tmp_path / "v.jsonl", start)) for start in (0, 1000)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
        assert writer.exitcode == 0
    assert ticks(tmp_path) == [float(t) for start in (0, 1000) for t in range(start, start + 100)]
    assert len(list(tmp_path.iterdir())) > 10
    assert all(path.stat().st_size <= 4000 for path in tmp_path.iterdir())


def test_so_many_older_files_are_kept_and_the_oldest_lines_go(tmp_path):
    log = VerdictLog(tmp_path / "v.jsonl", max_bytes=1, keep=2)  # a line longer than that has a file of its own
    for tick in range(5):
        log(observation(tick))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["v.jsonl", "v.jsonl.1", "v.jsonl.2"]
    assert ticks(tmp_path) == [2.0, 3.0, 4.0]
    assert json.loads((tmp_path / "v.jsonl.1").read_text())["timing_ms"]["generate"] == 3.0


@pytest.mark.parametrize("limits", [{"max_bytes": 0}, {"keep": 0}])
def test_a_limit_of_nothing_is_refused(tmp_path, limits):
    with pytest.raises(DataError, match="at least 1"):
        VerdictLog(tmp_path / "v.jsonl", **limits)
