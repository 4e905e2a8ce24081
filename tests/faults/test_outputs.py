"""Disks that are full, folders that are read-only, streams that are closed, processes that are killed: whole files or none, and
one line that names what could not be written."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from guardrail.calibration.isotonic import IsotonicCalibrator
from guardrail.cli.claims import write_page
from guardrail.datasets.questions import load_data
from guardrail.errors import CalibrationError, DataError, GuardrailError
from guardrail.evaluation.score import score
from guardrail.files import check_page, whole_file, write_whole
from guardrail.model.spec import resolve
from guardrail.observers.protocol import Observation
from guardrail.observers.verdict_log import VerdictLog
from guardrail.policy import Policy
from guardrail.runs.run_file import RunFile, read_run
from guardrail.testing import tiny_local_model
from tests.helpers import sample_runs, sample_verdicts
from tests.helpers.full_disk import full_disk

ENVIRONMENT = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "COLUMNS": "100", "NO_COLOR": "1"}
COMMAND = [sys.executable, "-m", "guardrail.cli"]


def observed():
    return Observation(({"role": "user", "content": "Who?"},), sample_verdicts.city(), ())


WRITERS = {
    "calibrator": lambda path: sample_runs.calibrator(60).save(path),
    "page": lambda path: write_page(path, sample_verdicts.city(), question="?"),
    "text": lambda path: write_whole(path, "x" * 10_000, "the figures", DataError),
    "log": lambda path: VerdictLog(path)(observed()),
    "run": lambda path: RunFile(path, {"kind": "x" * 10_000}, resume=True),
}
REPLACING = ("calibrator", "page", "text")


@pytest.mark.parametrize("name", WRITERS)
def test_a_full_disk_leaves_nothing_torn_and_is_told_with_the_name(name, tmp_path):
    path = tmp_path / "out"
    with full_disk(700), pytest.raises(GuardrailError, match=rf"{path}.*File too large"):
        WRITERS[name](path)
    assert [file.name for file in tmp_path.iterdir() if file.stat().st_size] == []


@pytest.mark.parametrize("name", REPLACING)
def test_a_full_disk_leaves_what_was_there(name, tmp_path):
    path = tmp_path / "out"
    path.write_text("old")
    path.chmod(0o600)
    with full_disk(700), pytest.raises(GuardrailError):
        WRITERS[name](path)
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["out"]
    WRITERS[name](path)
    assert path.stat().st_size > 700
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("name", WRITERS)
def test_a_folder_that_takes_no_file(name):
    """/proc takes none, not even from root."""
    with pytest.raises(GuardrailError, match="/proc/none.json"):
        WRITERS[name](Path("/proc/none.json"))


@pytest.mark.parametrize("name", [*REPLACING, "log"])
def test_the_device_that_is_always_full(name):
    with pytest.raises(GuardrailError, match="/dev/full.*No space left on device"):
        WRITERS[name](Path("/dev/full"))


@pytest.mark.parametrize("name", WRITERS)
def test_a_folder_in_the_place_of_a_file(name, tmp_path):
    (tmp_path / "out").mkdir()
    with pytest.raises(GuardrailError, match="out"):
        WRITERS[name](tmp_path / "out")


def test_a_run_goes_on_once_there_is_room(tmp_path):
    path = tmp_path / "run"
    with RunFile(path, {"kind": "test"}) as run:
        run.add([{"key": "a"}])
        before = path.read_bytes()
        with full_disk(len(before) + 100), pytest.raises(DataError, match=rf"run file '{path}': File too large"):
            run.add([{"key": "b"}, {"key": "c", "text": "x" * 200}])
        assert path.read_bytes() == before
        assert list(run.rows) == ["a"]
        run.add([{"key": "d"}])
    assert [row["key"] for row in read_run(path)[1].values()] == ["a", "d"]


def test_a_log_keeps_whole_lines(tmp_path):
    log = VerdictLog(tmp_path / "log")
    log(observed())
    size = (tmp_path / "log").stat().st_size
    with full_disk(size + 50), pytest.raises(DataError, match="cannot write the verdict log"):
        log(observed())
    assert (tmp_path / "log").stat().st_size == size
    log(observed())
    assert len([json.loads(line) for line in (tmp_path / "log").read_bytes().splitlines()]) == 2


@pytest.mark.parametrize("where", ["file", "/dev/full"])
def test_scores_on_a_full_disk(where, tmp_path):
    out = tmp_path / "out" if where == "file" else Path(where)
    rows = [{"prompt": f"Who {i}?", "response": "Lyon"} for i in range(20)]
    with full_disk(700), pytest.raises(DataError, match=rf"cannot write the scores to '{out}'"):
        score(tiny_local_model(vocab_size=261), rows, out, paper=True)
    assert not (tmp_path / "out").exists()


def test_a_dense_copy_on_a_full_disk(tmp_path, monkeypatch):
    """safetensors has an error of its own for it, which is none of the system's."""
    from guardrail.errors import ModelError
    from guardrail.model import gguf
    from guardrail.testing import tiny_model, tiny_tokenizer

    monkeypatch.setenv("GUARDRAIL_CACHE", str(tmp_path))
    (tmp_path / "m.gguf").write_bytes(b"GGUF")
    loading = "transformers.AutoModelForCausalLM.from_pretrained", "transformers.AutoTokenizer.from_pretrained"
    monkeypatch.setattr(loading[0], lambda *_, **__: (tiny_model(vocab_size=261), {}))
    monkeypatch.setattr(loading[1], lambda *_, **__: tiny_tokenizer())
    monkeypatch.setattr(gguf, "require_all_weights", lambda *_: None)
    with full_disk(5000), pytest.raises(ModelError, match=r"cannot write the model cache .*set GUARDRAIL_CACHE"):
        gguf.dense_copy(tmp_path / "m.gguf")
    assert [each.name for each in (tmp_path / "dense").iterdir()] == []
    assert (gguf.dense_copy(tmp_path / "m.gguf") / "model.safetensors").stat().st_size > 5000


def test_whole_files_follow_links_and_write_to_pipes(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "there")
    write_whole(tmp_path / "link", "text", "it", DataError)
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "there").read_text() == "text"
    os.mkfifo(tmp_path / "pipe")
    with subprocess.Popen(["cat", str(tmp_path / "pipe")], stdout=subprocess.PIPE) as reader:
        write_whole(tmp_path / "pipe", "through", "it", DataError)
        assert reader.stdout.read() == b"through"
    check_page(tmp_path / "pipe")


def test_an_error_in_the_middle_leaves_what_was_there(tmp_path):
    (tmp_path / "out").write_text("old")

    def half():
        with whole_file(tmp_path / "out") as file:
            file.write(b"new")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        half()
    assert (tmp_path / "out").read_text() == "old"
    assert os.listdir(tmp_path) == ["out"]


def test_text_that_utf_8_cannot_hold_is_an_error_of_ours(tmp_path):
    with pytest.raises(CalibrationError, match="half of a character"):
        write_whole(tmp_path / "c.json", "a\udcff", "the calibrator", CalibrationError)
    assert os.listdir(tmp_path) == []


SHELL = {
    "closed stdout": ("policy list >&-", 1, "cannot write to standard output"),
    "closed stdout, help": ("--help >&-", 1, "cannot write to standard output"),
    "full stdout": ("policy show default >/dev/full", 1, "cannot write to standard output: No space"),
    "a reader that went away": ("policy show default | true", 1, ""),
    "closed stdin": ("ask - <&-", 1, "cannot read the question from stdin"),
    "closed stdin of rows": ("calibrate - -o c.json <&-", 1, "<stdin>: cannot read it"),
    "endless stdin": ("ask - < /dev/zero", 1, "cannot read the question from stdin: it is a device"),
    "endless rows": ("calibrate - -o c.json < /dev/zero", 1, "<stdin>: cannot read it: it is a device"),
    "an endless pipe": ("data split - -o parts < <(cat /dev/zero)", 1, "line 1 is longer than 64 MiB"),
    "closed stderr": ("policy check none.yaml 2>&-", 1, ""),
    "full stderr": ("policy check none.yaml 2>/dev/full", 1, ""),
    "all closed": ("policy list <&- >&- 2>&-", 1, ""),
    "a folder that cannot be made": ("init /proc/none", 1, "cannot make the folder"),
}


@pytest.mark.parametrize("name", SHELL)
def test_streams_of_a_command(name, tmp_path):
    command, code, says = SHELL[name]
    line = " ".join([*COMMAND, command, "; exit ${PIPESTATUS[0]}"])
    out = subprocess.run(
        ["bash", "-c", line], capture_output=True, text=True, cwd=tmp_path, env=ENVIRONMENT, timeout=120, check=False
    )
    assert out.returncode == code, out.stderr
    assert says in out.stderr
    assert "Traceback" not in out.stderr
    assert "Exception ignored" not in out.stderr
    assert out.stdout == ""
    assert len(out.stderr.splitlines()) <= 3


def test_progress_never_goes_among_the_results(tiny_folder, tmp_path):
    """Python prints on stdout what is meant for a stderr that was closed."""
    (tmp_path / "rows.jsonl").write_text('{"prompt": "Who?", "response": "Lyon"}\n')
    line = " ".join([*COMMAND, "score rows.jsonl --paper -m", str(tiny_folder), "2>&-"])
    out = subprocess.run(
        ["bash", "-c", line], capture_output=True, cwd=tmp_path, env=ENVIRONMENT, timeout=120, check=True
    )
    assert [set(json.loads(row)) for row in out.stdout.splitlines()] == [{"prompt", "response", "score"}]


LONG = {
    "calibrate": ("calibrate data.jsonl -o c.json --resume", ["c.json"]),
    "evaluate": ("evaluate held.jsonl -c ready.json --run e.run --resume", []),
    "tune": ("tune held.jsonl -c ready.json --max-error 0.998 -o p.yaml --run t.run --resume", ["p.yaml"]),
    "bench": ("bench held.jsonl -o b.json --scorers hybridgrad,ln-pe --max-new-tokens 6 --resume", ["b.json"]),
    "score": ("score rows.jsonl -o s.jsonl --paper", ["s.jsonl"]),
}


@pytest.fixture(scope="module")
def place(tmp_path_factory, tiny_folder, tiny_data, tiny_heldout, command_line):
    folder = tmp_path_factory.mktemp("killed")
    (folder / "data.jsonl").write_bytes(tiny_data.read_bytes())
    (folder / "held.jsonl").write_bytes(tiny_heldout.read_bytes())
    rows = (json.dumps({"prompt": f"Who {i}?", "response": "Lyon"}) + "\n" for i in range(200))
    (folder / "rows.jsonl").write_text("".join(rows))
    done = command_line("calibrate", folder / "data.jsonl", "-o", folder / "ready.json", "-m", tiny_folder)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("name", LONG)
def test_after_kill_9_the_same_command_ends_as_if_nothing_had_been(name, place, tiny_folder):
    line, outputs = LONG[name]
    command = [*COMMAND, *line.split(), "-m", str(tiny_folder)]
    own = {**ENVIRONMENT, "GUARDRAIL_ANSWERS": str(place / f"{name}.sqlite3"), "OMP_NUM_THREADS": "1"}
    for patience in (0.02, 0.3, 1.0):  # seconds after the first rows
        before = set(os.listdir(place))
        process = subprocess.Popen(command, cwd=place, env=own, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 100
        grown = {"score": "s.jsonl.partial", "calibrate": "c.json.run.jsonl", "bench": "b.json.run.jsonl"}.get(
            name, f"{name[0]}.run"
        )
        while not (place / grown).exists() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(patience)
        process.send_signal(signal.SIGKILL)
        process.wait(timeout=30)
        for output in outputs:
            if (place / output).exists():  # it was faster than the signal
                check(place / output)
                (place / output).unlink()
        assert set(os.listdir(place)) >= before - set(outputs)
    done = subprocess.run(command, cwd=place, env=own, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr
    for output in outputs:
        check(place / output)


@pytest.mark.slow
@pytest.mark.real_model
def test_after_kill_9_a_dense_copy_is_made_anew(tmp_path):
    source = resolve("smollm2-135m")
    assert source.kind == "gguf"
    code = "import sys; from guardrail.model.gguf import dense_copy; from pathlib import Path; dense_copy(Path(sys.argv[1]))"
    command = [sys.executable, "-c", code, source.location]
    own = {**ENVIRONMENT, "GUARDRAIL_CACHE": str(tmp_path)}
    process = subprocess.Popen(command, env=own, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 150
    while not list(tmp_path.glob("dense/.making-*/*")) and time.monotonic() < deadline:
        assert process.poll() is None
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait(timeout=30)
    assert [each.name for each in (tmp_path / "dense").iterdir() if not each.name.startswith(".making-")] == []
    assert subprocess.run(command, env=own, timeout=200, check=False).returncode == 0
    [copy] = [each for each in (tmp_path / "dense").iterdir() if not each.name.startswith(".making-")]
    assert (copy / "model.safetensors").stat().st_size > 100_000_000


def check(path):
    """It reads as what it is."""
    if path.name == "c.json":
        assert IsotonicCalibrator.load(path).provenance is not None
    elif path.suffix == ".yaml":
        assert Policy.load(path).proof is not None
    elif path.suffix == ".json":
        assert json.loads(path.read_text())["kind"] == "guardrail bench"
    else:
        assert len(path.read_bytes().splitlines()) == len(load_lines(path)) == 200


def load_lines(path):
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def test_what_was_split_before_is_never_overwritten(tmp_path, command_line):
    """A command that was killed between its files says which one is there."""
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "tune.jsonl").write_text("mine")
    done = command_line("data", "split", "bundled", "-o", tmp_path / "parts")
    assert done.returncode == 1
    assert "tune.jsonl exists" in done.stderr
    assert (tmp_path / "parts" / "tune.jsonl").read_text() == "mine"
    assert load_data("bundled", "calibration").rows
