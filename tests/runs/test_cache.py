"""The cache of records: the same work is done once, other work never taken for it, whoever else writes."""

from __future__ import annotations

import subprocess
import sys

import pytest

from guardrail.errors import DataError
from guardrail.runs.asking import RunOptions, records_of
from guardrail.runs.cache import RecordCache, content_key

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


def collect(cache, contents, header=HEADER, **more):
    work = Worker(contents)
    own = [{"key": c, "question": c} for c in contents]
    return records_of(own, contents, work, header, RunOptions(cache=cache is not None, batch_size=2, **more)), work


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
    monkeypatch.setattr("guardrail.runs.cache.version", lambda name: "0.0")
    assert content_key(HEADER, "a") != before


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
