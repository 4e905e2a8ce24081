"""Files that are none, that never end, that were cut off or changed: refused in words, at once, and never half read."""

from __future__ import annotations

import codecs
import json
import os
import re
import socket
import subprocess
import sys
import threading
import time

import pytest

from guardrail import Guard
from guardrail.calibration.isotonic import IsotonicCalibrator
from guardrail.calibration.sps_profile import SpsProfile
from guardrail.cli import runtime
from guardrail.datasets.claims import load_claim_rows
from guardrail.datasets.paraphrases import load_paraphrase_rows
from guardrail.datasets.questions import load_data
from guardrail.errors import CalibrationError, DataError, GuardrailError, ModelError, PolicyError
from guardrail.evaluation.bench_file import load_bench
from guardrail.files import LARGE, SMALL, open_file, read_bytes, read_lines, read_text
from guardrail.grading.hand_labels import load_hand_labels
from guardrail.model.spec import resolve
from guardrail.monitoring.entries import entries, labels
from guardrail.observers.verdict_log import VerdictLog
from guardrail.policy import Policy
from guardrail.retrieval.passages import read_passages
from guardrail.runs.run_file import RunFile, read_run
from guardrail.testing import tiny_local_model
from tests.helpers import sample_runs

pytestmark = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs FIFOs")

AT_ONCE = 20.0  # seconds; measured: hundredths, and what is refused never ends or takes all memory
READERS = {
    "policy.yaml": Policy.load,
    "calibrator.json": IsotonicCalibrator.load,
    "profile.json": SpsProfile.load,
    "bench.json": load_bench,
    "template.jinja": runtime.read_text,
    "data.jsonl": lambda path: load_data(str(path), "calibration"),
    "data.csv": lambda path: load_data(str(path), "calibration"),
    "data.tsv": lambda path: load_data(str(path), "calibration"),
    "claims.jsonl": load_claim_rows,
    "paraphrases.jsonl": lambda path: load_paraphrase_rows(str(path)),
    "hand_labels.jsonl": load_hand_labels,
    "labels.jsonl": lambda path: labels(str(path)),
    "log.jsonl": lambda path: list(entries(str(path), "answer")),
    "run.jsonl": read_run,
    "passages.jsonl": read_passages,
    "passages.md": read_passages,
}
KINDS = ("FIFO", "/dev/zero", "/dev/urandom", "/dev/full", "socket", "folder")


def unfit(kind, path):
    """Something under that name which is no ordinary file."""
    if kind == "FIFO":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "socket":
        here = os.getcwd()
        os.chdir(path.parent)  # a socket's path is short
        try:
            socket.socket(socket.AF_UNIX).bind(path.name)
        finally:
            os.chdir(here)
    else:
        path.symlink_to(kind)
    return path


@pytest.mark.parametrize("kind", ["FIFO", "socket", "folder"])
def test_verdicts_go_to_no_place_that_loses_them_or_blocks(kind, tmp_path):
    with pytest.raises(DataError, match="cannot write the verdict log"):
        VerdictLog(unfit(kind, tmp_path / "log.jsonl"))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", READERS)
def test_what_is_no_ordinary_file_is_refused_at_once(name, kind, tmp_path):
    path = unfit(kind, tmp_path / name)
    began = time.monotonic()
    with pytest.raises(GuardrailError) as caught:
        READERS[name](path)
    assert time.monotonic() - began < AT_ONCE
    assert name in str(caught.value)
    if (name, kind) != ("passages.md", "folder") and (name, kind) != ("passages.jsonl", "folder"):
        says = {"FIFO": "FIFO that nobody writes", "socket": "socket", "folder": "Is a directory"}.get(kind, "a device")
        assert says in str(caught.value)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("make", [lambda p: RunFile(p, {"kind": "x"}, resume=True), lambda p: list(read_run(p))])
def test_a_run_file_that_is_none(make, kind, tmp_path):
    with pytest.raises(DataError, match=r"run\.jsonl"):
        make(unfit(kind, tmp_path / "run.jsonl"))


@pytest.mark.parametrize("kind", KINDS)
def test_models_are_ordinary_files(kind, tmp_path, tiny_folder):
    for file in tiny_folder.iterdir():
        (tmp_path / file.name).symlink_to(file)
    assert resolve(str(tmp_path)).kind == "folder"
    unfit(kind, tmp_path / "tokenizer_config.json.new")
    if kind != "folder":
        with pytest.raises(ModelError, match=r"tokenizer_config\.json\.new.* no ordinary file"):
            resolve(str(tmp_path))
    with pytest.raises(ModelError, match=r"m\.gguf"):
        resolve(str(unfit(kind, tmp_path / "m.gguf")))


ROW = b'{"question": "Who wrote Faust?", "answers": ["Goethe"]}\n'
GOOD = {
    "policy.yaml": b"version: 1\nname: mine\nrules: []\n",
    "calibrator.json": json.dumps(sample_runs.calibrator(60).to_dict()).encode(),
    "template.jinja": b"{{ messages }}\r\n",
    "data.jsonl": ROW,
    "data.csv": b"question,answers\nWho wrote Faust?,Goethe\n",
    "labels.jsonl": b'{"id": "a", "correct": true}\n',
    "passages.md": b"Lyon is in France.\n",
}


def written_later(path, content):
    def write():
        with path.open("wb") as file:
            time.sleep(0.2)  # a writer who takes his time
            file.write(content[:5])
            file.flush()
            file.write(content[5:])

    thread = threading.Thread(target=write)
    thread.start()
    return thread


@pytest.mark.parametrize("name", GOOD)
def test_a_pipe_with_a_writer_is_read_as_a_file_is(name, tmp_path):
    (tmp_path / "plain").mkdir()
    plain = tmp_path / "plain" / name
    plain.write_bytes(GOOD[name])
    os.mkfifo(tmp_path / name)
    writer = written_later(tmp_path / name, GOOD[name])
    found = READERS[name](tmp_path / name)
    writer.join(timeout=5)
    expected = READERS[name](plain)
    if name == "calibrator.json":
        found, expected = found.to_dict(), expected.to_dict()
    assert getattr(found, "text", found) == getattr(expected, "text", expected)


@pytest.mark.parametrize("name", GOOD)
def test_a_byte_order_mark_is_no_part_of_a_text(name, tmp_path):
    (tmp_path / name).write_bytes(GOOD[name])
    plain = READERS[name](tmp_path / name)
    (tmp_path / name).write_bytes(codecs.BOM_UTF8 + GOOD[name])
    marked = READERS[name](tmp_path / name)
    if name == "calibrator.json":
        plain, marked = plain.to_dict(), marked.to_dict()
    assert getattr(marked, "text", marked) == getattr(plain, "text", plain)


def test_the_first_byte_of_a_slow_pipe_is_kept(tmp_path):
    """Process substitution, whose writer says nothing for longer than a FIFO is waited for."""
    code = (
        "import sys; from guardrail.files import *; sys.stdout.write(read_text(sys.argv[1]) + read_text(sys.argv[2]))"
    )
    command = f"{sys.executable} -c '{code}' <(sleep 1.5; echo first) <(printf 'second\\r\\n')"
    out = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60, check=True)
    assert out.stdout == "first\nsecond\n"


def test_pipes_without_an_end_have_a_limit(tmp_path):
    os.mkfifo(tmp_path / "endless")
    writing = ["dd", "if=/dev/zero", f"of={tmp_path / 'endless'}", "bs=1M"]
    with (
        subprocess.Popen(writing, stderr=subprocess.DEVNULL),
        pytest.raises(CalibrationError, match="it is larger than 64 MiB"),
    ):
        IsotonicCalibrator.load(tmp_path / "endless")
    with (
        subprocess.Popen(writing, stderr=subprocess.DEVNULL),
        pytest.raises(OSError, match="line 1 is longer than 64 MiB"),
        open_file(tmp_path / "endless") as file,
    ):
        list(read_lines(file))
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(SMALL + 1)
    with pytest.raises(OSError, match="larger than"):
        read_bytes(tmp_path / "sparse")
    assert len(read_bytes(tmp_path / "sparse", most=None)) == SMALL + 1 < LARGE


def test_memory_that_runs_out_while_reading_is_said_in_words(tmp_path):
    """A file of 8 GB in a process that may have 1 GB."""
    with (tmp_path / "big.csv").open("wb") as file:
        file.truncate(8 * 2**30)
    code = (
        "import resource, sys; from guardrail.datasets.questions import load_data; from guardrail.errors import DataError\n"
        "resource.setrlimit(resource.RLIMIT_AS, (2**30,) * 2)\n"
        "try: load_data(sys.argv[1], 'calibration')\n"
        "except DataError as error: print(error)"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "big.csv")]
    out = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert "big.csv: cannot read it: it does not fit into memory" in out.stdout, out.stderr[-500:]


def test_the_null_device_is_empty():
    assert read_bytes(os.devnull) == b""
    assert read_text(os.devnull) == ""
    with pytest.raises(PolicyError, match="the file is empty"):
        Policy.load(os.devnull)


def test_a_name_with_a_null_byte_is_an_error_of_ours():
    for read in (IsotonicCalibrator.load, read_run, load_bench, lambda path: load_data(path, "calibration")):
        with pytest.raises(GuardrailError, match="null byte"):
            read("a\0b")


def _offsets():
    text = GOOD["calibrator.json"]
    structure = [at + step for at, byte in enumerate(text) if byte in b'{}[],:"' for step in (0, 1)]
    return sorted({*structure[:120], *structure[-120:], *range(0, len(text), max(1, len(text) // 150))} - {len(text)})


def test_a_calibrator_that_was_cut_off_anywhere_is_refused(tmp_path):
    path, text = tmp_path / "c.json", GOOD["calibrator.json"]
    path.write_bytes(text)
    IsotonicCalibrator.load(path)
    for end in _offsets():
        path.write_bytes(text[:end])
        with pytest.raises(CalibrationError, match=r"c\.json: not a calibrator"):
            IsotonicCalibrator.load(path)


@pytest.mark.parametrize("change", ["replaced", "deleted", "emptied", "a FIFO"])
def test_a_policy_whose_file_changes_while_it_is_used_stays_what_it_was(change, tmp_path):
    path = tmp_path / "p.yaml"
    path.write_text("version: 1\nname: mine\nrules:\n  - {name: all, then: abstain}\nwording: {abstain: Not this.}\n")
    guard = Guard(model=tiny_local_model(vocab_size=261), policy=str(path))
    before = guard.check("Who?", "Lyon")
    path.unlink()
    if change == "replaced":
        path.write_text("version: 1\nname: other\nrules:\n  - {name: all, then: answer}\n")
    elif change == "emptied":
        path.touch()
    elif change == "a FIFO":
        os.mkfifo(path)
    after = guard.check("Who?", "Lyon")
    assert before.text == after.text == "Not this."
    assert (before.action, before.rule, before.policy) == (after.action, after.rule, after.policy)


JUMPS = {"back": -3600.0, "forward": 1e6, "still": 0.0}


@pytest.mark.parametrize("jump", JUMPS)
def test_a_clock_that_jumps_makes_no_negative_time(jump, tmp_path, monkeypatch):
    guard = Guard(
        model=tiny_local_model(vocab_size=261), policy="observe", observers=[VerdictLog(tmp_path / "log.jsonl")]
    )
    told = [1e6]

    def clock():
        told[0] += JUMPS[jump]
        return told[0]

    monkeypatch.setattr(time, "perf_counter", clock)
    monkeypatch.setattr(time, "time", clock)
    monkeypatch.setattr(time, "time_ns", lambda: int(clock() * 1e9))
    verdicts = [guard.answer("Who?", max_new_tokens=3), *guard.answer_batch(["Where?", "When?"], max_new_tokens=3)]
    verdicts.append(guard.check("Who?", "Lyon"))
    assert all(ms >= 0 for verdict in verdicts for ms in verdict.timing_ms.values())
    assert [verdict.score.value is not None for verdict in verdicts] == [True] * 4
    assert len(list(entries(str(tmp_path / "log.jsonl"), "answer"))) == 4


def test_progress_survives_a_clock_that_stands_still(monkeypatch, capsys):
    monkeypatch.setattr(time, "perf_counter", lambda: 5.0)
    report = runtime.passage_counter()
    report(1, 2)
    report(2, 2)
    assert "2 of 2" in capsys.readouterr().err


BOMBS = {
    "100,000 brackets": b"[" * 100_000,
    "100,000 closed brackets": b"[" * 100_000 + b"]" * 100_000,
    "100,000 objects": b'{"a":' * 100_000,
    "10,000 brackets in YAML": b"a: " + b"[" * 10_000 + b"]" * 10_000,
    "10,000 lists in YAML": b"- " * 10_000 + b"a",
    "10,000 keys in YAML": b"? " * 10_000 + b"a",
    "a billion laughs": b"a: &a [lol]\n"
    + b"\n".join(b"%c: &%c [%s]" % (98 + i, 98 + i, b", ".join([b"*%c" % (97 + i)] * 9)) for i in range(9)),
}


@pytest.mark.parametrize("bomb", BOMBS)
@pytest.mark.parametrize("name", [name for name in READERS if not name.startswith(("template", "passages.md"))])
def test_bombs_are_refused_at_once(name, bomb, tmp_path):
    (tmp_path / name).write_bytes(BOMBS[bomb])
    began = time.monotonic()
    if name == "log.jsonl" and ("YAML" in bomb or "laughs" in bomb):
        assert set(READERS[name](tmp_path / name)) == {None}  # what is no JSON is a line that a killed writer left
    else:
        with pytest.raises(GuardrailError, match=re.escape(name)) as caught:
            READERS[name](tmp_path / name)
        assert len(str(caught.value)) < 1000
    assert time.monotonic() - began < AT_ONCE


@pytest.mark.parametrize(
    "text",
    [
        'name: "\\ud800"\nrules: []',
        'name: n\nrules: [{name: "\\uDFFF", then: answer}]',
        'name: n\nrules: []\nwording: {abstain: "x \\ud83d y"}',
        'name: n\n"\\ud83d": 3\nrules: []',
    ],
)
def test_half_a_character_in_a_policy_is_refused(text):
    with pytest.raises(PolicyError, match=r"p\.yaml:\d: .*half of a surrogate pair"):
        Policy.from_text(f"version: 1\n{text}\n", "p.yaml")


@pytest.mark.parametrize("cell", ['"[""a\\ud83d""]"', "\"['a\\ud83d']\"", '"[""\\udfff"", ""b""]"'])
def test_half_a_character_in_a_cell_is_refused(cell, tmp_path):
    (tmp_path / "q.csv").write_text(f"question,answers\nWho?,{cell}\n")
    with pytest.raises(DataError, match=r"q\.csv:2: "):
        load_data(str(tmp_path / "q.csv"), "calibration")
