"""Ctrl-C in a command: exit code 130, no traceback, whole files or none, and the same command goes on where it was."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time

from guardrail.calibration.isotonic import IsotonicCalibrator
from guardrail.runs.run_file import read_run


def interrupted(command_line, arguments, begun):
    """What a command comes to that gets the signal once `begun` is true, called with the main thread's frames."""
    ended = threading.Event()
    sent = []

    def watch():
        main = threading.main_thread().ident
        while not ended.wait(0.002):
            frame, names = sys._current_frames()[main], set()
            while frame is not None:
                names.add((os.path.basename(frame.f_code.co_filename), frame.f_code.co_name))
                frame = frame.f_back
            if begun(names):
                sent.append(time.monotonic())
                os.kill(os.getpid(), signal.SIGINT)
                return

    watcher = threading.Thread(target=watch)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # what a shell starts with & ignores it
    watcher.start()
    try:
        return command_line(*arguments)
    finally:
        signal.signal(signal.SIGINT, before)
        ended.set()
        watcher.join()
        assert sent, "the command ended before the signal"


def test_ask_while_it_generates(tiny_folder, tmp_path, monkeypatch, command_line):
    monkeypatch.chdir(tmp_path)
    ask = ["ask", "Who?", "-m", tiny_folder, "--policy", "observe", "--max-new-tokens", 400]
    done = interrupted(command_line, ask, lambda names: ("stopping.py", "__call__") in names or _generates(names))
    assert done.returncode == 130, done.stderr
    assert done.stdout == ""
    assert done.stderr.splitlines()[-1] == "interrupted"
    assert "Traceback" not in done.stderr
    assert os.listdir(tmp_path) == []
    sound = command_line("ask", "Who?", "-m", tiny_folder, "--policy", "observe", "--max-new-tokens", 4)
    assert sound.returncode == 0, sound.stderr


def _generates(names):
    return ("generate.py", "_run") in names and ("modeling_llama.py", "forward") in names


def test_calibrate_while_it_asks(tiny_folder, tiny_data, tmp_path, monkeypatch, command_line):
    monkeypatch.setenv("GUARDRAIL_ANSWERS", str(tmp_path / "answers.sqlite3"))
    run, out = tmp_path / "c.json.run.jsonl", tmp_path / "c.json"
    calibrate = ["calibrate", tiny_data, "-o", out, "-m", tiny_folder, "--resume"]
    done = interrupted(
        command_line, calibrate, lambda names: run.exists() and run.stat().st_size > 3_000 and _generates(names)
    )
    assert done.returncode == 130, done.stderr
    assert done.stderr.splitlines()[-1] == "interrupted"
    assert "Traceback" not in done.stderr
    assert not out.exists()
    rows = list(read_run(run)[1].values())
    assert rows
    assert [json.loads(line) for line in run.read_text().splitlines()][1:] == rows
    done = command_line(*calibrate)
    assert done.returncode == 0, done.stderr
    assert IsotonicCalibrator.load(out).provenance is not None
