"""The cache of records: the same work is done once, other work never taken for it, whoever else writes."""

from __future__ import annotations

import importlib
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tokenizers import normalizers

import guardrail.runs.cache as runs_cache
from guardrail.errors import DataError
from guardrail.model.remote.model import RemoteModel
from guardrail.runs.asking import RunOptions, records_of
from guardrail.runs.cache import RecordCache, content_key, own_code
from guardrail.runs.scorer_pass import ScorerPass
from guardrail.stated import Wording
from guardrail.testing import tiny_local_model
from tests.test_layers import SOURCES, imports, room

HEADER = {"kind": "test", "model": {"weights": "abc"}, "asking": {"prompt": "{question}"}, "data": "one"}


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("GUARDRAIL_ANSWERS", str(tmp_path / "cache" / "answers.sqlite3"))
    with RecordCache() as opened:
        yield opened


class Worker:
    """Answers with the length of what is asked, and counts."""

    def __init__(self, contents):
        self.contents, self.done = contents, []

    def __call__(self, batch):
        self.done += batch
        return [{"length": len(self.contents[i])} for i in batch]


def collect(cache, contents, header=HEADER, local=None, **more):
    work = Worker(contents)
    own = [{"key": c, "question": c} for c in contents]
    options = RunOptions(cache=cache is not None, batch_size=2, **more)
    return records_of(own, contents, work, header, options, local), work


def test_the_same_work_is_done_once(cache, tmp_path):
    first, _ = collect(cache, ["a", "bb", "ccc"])
    again, work = collect(cache, ["ccc", "dddd", "a"], {**HEADER, "data": "other"}, file=tmp_path / "run.jsonl")
    assert work.done == [1]
    assert again == (first[2], {"key": "dddd", "question": "dddd", "length": 4}, first[0])
    assert (tmp_path / "run.jsonl").read_text().count(
        "\n"
    ) == 4  # the run stands by itself, wherever its rows came from


@pytest.mark.parametrize(
    "change",
    [{"model": {"weights": "xyz"}}, {"asking": {"prompt": "Q: {question}"}}, {"offsets": [-1]}, {"kind": "other"}],
)
def test_other_work_is_done(cache, change):
    collect(cache, ["a", "bb"])
    _, work = collect(cache, ["a", "bb"], {**HEADER, **change})
    assert work.done == [0, 1]


def test_other_versions_of_the_code_are_other_work(monkeypatch):
    before = content_key(HEADER, "a")
    monkeypatch.setattr("guardrail.runs.cache._versions", lambda: {"torch": "0.0"})
    assert content_key(HEADER, "a") != before


def test_other_code_is_other_work_without_another_version(monkeypatch):
    before = content_key(HEADER, "a")
    monkeypatch.setattr("guardrail.runs.cache.own_code", lambda: "edited")
    assert content_key(HEADER, "a") != before


def test_all_code_that_makes_records_is_in_the_key(tmp_path, monkeypatch):
    needed, todo = set(), [module for module in SOURCES if room(module) == "runs"]
    while todo:
        if (module := todo.pop()) in SOURCES and module not in needed:
            needed.add(module)
            todo += imports(SOURCES[module])
    real, package = Path(runs_cache.__file__).parent.parent, tmp_path / "guardrail"
    shutil.copytree(real, package, ignore=shutil.ignore_patterns("*.pyc"))
    monkeypatch.setattr("guardrail.runs.cache.__file__", str(package / "runs" / "cache.py"))
    whole = own_code.__wrapped__()
    assert len(needed) > 100
    for module in sorted(needed - {"guardrail"})[::10]:
        file = package / SOURCES[module].relative_to(real)
        before = file.read_bytes()
        file.write_bytes(before + b"\n# another\n")
        assert own_code.__wrapped__() != whole, module
        file.write_bytes(before)
    (package / "server" / "app.py").write_text("# only sees records\n")
    assert own_code.__wrapped__() == whole


@pytest.mark.parametrize("change", ["tokenizer", "attention", "wording"])
def test_a_model_that_reads_otherwise_is_other_work_under_the_same_identity(cache, change):
    local = tiny_local_model(vocab_size=261)
    collect(cache, ["a", "bb"], local=local)
    _, same = collect(cache, ["a", "bb"], local=local)
    local.tokenizer("padded", padding="max_length", max_length=9)  # which is no other tokenizer
    _, still = collect(cache, ["a", "bb"], local=local)
    if change == "tokenizer":
        local.tokenizer.backend_tokenizer.normalizer = normalizers.Lowercase()
    elif change == "attention":
        local.model.set_attn_implementation("eager")
    else:
        local.wording = Wording(turn="same")
    _, other = collect(cache, ["a", "bb"], local=local)
    assert (same.done, still.done, other.done) == ([], [], [0, 1])


def test_answers_of_an_endpoint_are_not_looked_up(cache):
    for _ in range(2):
        _, work = collect(cache, ["a"], local=RemoteModel("http://127.0.0.1:9/v1", "m"))
        assert work.done == [0]


def test_a_scorer_of_ones_own_is_another_one_once_its_code_is(tmp_path, monkeypatch):
    def header(source):
        (tmp_path / "mine_of_cache.py").write_text(source)
        sys.modules.pop("mine_of_cache", None)
        return ScorerPass({"mine": importlib.import_module("mine_of_cache").Mine()}).header

    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    source = "class Mine:\n    name, options = 'mine', {}\n    weight = 1\n"
    first, again, other = header(source), header(source), header(source.replace("1", "22"))
    assert first == again != other
    assert content_key(first, "a") != content_key(other, "a")


def test_without_a_cache_nothing_is_kept():
    collect(None, ["a"])
    _, work = collect(None, ["a"])
    assert work.done == [0]


def test_the_question_is_not_in_the_file(cache):
    collect(cache, ["Who has the secret?"])
    cache.close()
    assert b"secret" not in cache.path.read_bytes()


def test_several_processes_write_at_once(tmp_path):
    path = tmp_path / "answers.sqlite3"
    code = (
        "import sys; from guardrail.runs.cache import RecordCache\n"
        "with RecordCache(sys.argv[1]) as c:\n"
        "    for i in range(50): c.put({f'{sys.argv[2]}{i}': {'n': i}, f'both{i}': {'n': i}})"
    )
    writers = [subprocess.Popen([sys.executable, "-c", code, str(path), name]) for name in "ab"]
    assert [w.wait(120) for w in writers] == [0, 0]
    with RecordCache(path) as cache:
        found = cache.get([f"{name}{i}" for name in ("a", "b", "both") for i in range(50)])
    assert len(found) == 150
    assert found["both7"] == {"n": 7}


def test_more_keys_than_a_statement_takes(cache):
    cache.put({str(i): {"n": i} for i in range(2000)})
    assert len(cache.get([str(i) for i in range(3000)])) == 2000


@pytest.mark.parametrize("content", [b"no database, but long enough to be read as one" * 30])
def test_another_file_is_refused(tmp_path, content):
    path = tmp_path / "notes.txt"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"notes\.txt.*cannot be used.*--no-cache"):
        RecordCache(path)
    assert path.read_bytes() == content
