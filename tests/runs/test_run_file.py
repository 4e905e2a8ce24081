"""A run file survives everything: torn lines, other runs, two writers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardrail.errors import DataError
from guardrail.runs.run_file import RunFile

HEADER = {"kind": "test", "data": "abc"}


def rows(*keys):
    return [{"key": key, "answer": f"answer to {key}"} for key in keys]


def test_goes_on_where_it_was(tmp_path):
    path = tmp_path / "run.jsonl"
    with RunFile(path, HEADER) as run:
        run.add(rows("a", "b"))
    with RunFile(path, HEADER, resume=True) as run:
        assert list(run.rows) == ["a", "b"]
        run.add(rows("c"))
    with RunFile(path, HEADER, resume=True) as run:
        assert list(run.rows.values()) == rows("a", "b", "c")


@pytest.mark.parametrize("line", ["[" * 100_000, '{"key": "a", "x": ' + "[" * 100_000 + "]" * 100_000 + "}"])
def test_a_line_nested_without_end_is_named(tmp_path, line):
    path = tmp_path / "run.jsonl"
    with RunFile(path, HEADER) as run:
        run.add(rows("a"))
    path.write_text(path.read_text() + line + "\n")
    with pytest.raises(DataError, match=r"run\.jsonl:3: "):
        RunFile(path, HEADER, resume=True).__enter__()


def test_refuses_to_overwrite(tmp_path):
    path = tmp_path / "run.jsonl"
    RunFile(path, HEADER).__exit__(None, None, None)
    with pytest.raises(DataError, match="--resume goes on with it"):
        RunFile(path, HEADER)


@given(cut=st.integers(0, 200))
def test_cut_anywhere_loses_only_the_torn_row(tmp_path_factory, cut):
    path = tmp_path_factory.mktemp("cut") / "run.jsonl"
    with RunFile(path, HEADER) as run:
        run.add(rows("a", "b", "c"))
    whole = path.read_bytes()
    path.write_bytes(whole[: max(0, len(whole) - cut)])
    kept = path.read_bytes().count(b"\n") - 1
    with RunFile(path, HEADER, resume=True) as run:
        assert list(run.rows) == ["a", "b", "c"][: max(0, kept)]
        run.add(rows(*["a", "b", "c"][max(0, kept) :]))
    assert path.read_bytes() == whole


def test_another_run_is_refused(tmp_path):
    path = tmp_path / "run.jsonl"
    with RunFile(path, HEADER) as run:
        run.add(rows("a"))
    before = path.read_bytes()
    with pytest.raises(DataError, match='another run \\(data is "abc" there, "xyz" here\\)'):
        RunFile(path, {**HEADER, "data": "xyz"}, resume=True)
    assert path.read_bytes() == before


def test_not_a_run(tmp_path):
    path = tmp_path / "run.jsonl"
    path.write_text('{"kind": "test", "data": "abc"}\nhello\n')
    with pytest.raises(DataError, match=r"run\.jsonl:2: .*not a run file"):
        RunFile(path, HEADER, resume=True)


@pytest.mark.parametrize("content", ["my notes, no newline", "line 1\nline 2, no newline", "{}\n"])
def test_a_file_that_is_no_run_is_left_alone(tmp_path, content):
    path = tmp_path / "notes.txt"
    path.write_text(content)
    with pytest.raises(DataError):
        RunFile(path, HEADER, resume=True)
    assert path.read_text() == content


def test_two_writers(tmp_path):
    path = tmp_path / "run.jsonl"
    with RunFile(path, HEADER), pytest.raises(DataError, match="being written by another process"):
        RunFile(path, HEADER, resume=True)
    with RunFile(path, HEADER, resume=True):
        pass


def test_no_folder(tmp_path):
    with pytest.raises(DataError, match="cannot write the run file"):
        RunFile(tmp_path / "no" / "run.jsonl", HEADER)
