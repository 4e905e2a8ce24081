"""A run file survives everything: torn lines, other runs, two writers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardrail.datasets.questions import QuestionRow, data_hash, question_digest
from guardrail.errors import DataError
from guardrail.runs.asking import RunOptions, records_of
from guardrail.runs.run_file import RunFile, read_run

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


def asked(**accepted):
    return {key: {"key": key, "accepted": forms} for key, forms in accepted.items()}


def grown_from(path, known, wanted, **header):
    """The keys with which a run of `known` goes on that is asked for `wanted`."""
    with RunFile(path, {**HEADER, "data": "of two"}) as run:
        run.add([{**row, "answer": "x"} for row in known.values()])
    with RunFile(path, {**HEADER, "data": "of more", **header}, resume=True, asked=wanted) as run:
        return list(run.rows)


def test_a_run_goes_on_with_more_questions(tmp_path):
    path = tmp_path / "run.jsonl"
    wanted = asked(a=["1"], b=["2"], c=["3"])
    assert grown_from(path, asked(a=["1"], b=["2"]), wanted) == ["a", "b"]
    with RunFile(path, {**HEADER, "data": "of more"}, resume=True) as run:  # the very same run from now on
        run.add(rows("c"))
    header, lines = read_run(path)
    assert header == {"kind": "test", "data": "of more"}
    assert {number: row["key"] for number, row in lines.items()} == {2: "a", 3: "b", 5: "c"}
    cut = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(cut[:3]) + cut[3][:-5])  # killed while it wrote the header again
    assert read_run(path)[0]["data"] == "of two"
    with RunFile(path, {**HEADER, "data": "of more"}, resume=True, asked=wanted) as run:
        assert list(run.rows) == ["a", "b"]
    assert read_run(path)[0]["data"] == "of more"


@pytest.mark.parametrize(
    ("wanted", "header"),
    [
        (asked(a=["1"], c=["3"]), {}),  # a question less
        (asked(a=["1"], b=["another"], c=["3"]), {}),
        ({**asked(a=["1"], c=["3"]), "b": {"key": "b", "accepted": ["2"], "items": [["2"]]}}, {}),
        (asked(a=["1"], b=["2"], c=["3"]), {"asking": "otherwise"}),
    ],
    ids=["fewer", "other answers", "all needed", "asked otherwise"],
)
def test_what_was_asked_otherwise_is_another_run(tmp_path, wanted, header):
    with pytest.raises(DataError, match="is another run"):
        grown_from(tmp_path / "run.jsonl", asked(a=["1"], b=["2"]), wanted, **header)
    assert read_run(tmp_path / "run.jsonl")[0]["data"] == "of two"


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


def test_a_larger_limit_asks_only_what_is_new(tmp_path):
    questions = [QuestionRow(f"Which is number {n}?", (str(n),)) for n in range(6)]
    own = [{"key": question_digest(q.question), **q.record} for q in questions]
    done: list[int] = []

    def records(n):
        def work(batch):
            done.extend(batch)
            return [{"answer": str(i)} for i in batch]

        header = {"kind": "test", "data": data_hash(questions[:n])}
        options = RunOptions(tmp_path / "run", resume=True, batch_size=2)
        return records_of(own[:n], [q.question for q in questions[:n]], work, header, options, None)

    first = records(4)
    assert records(6)[:4] == first
    assert done == [0, 1, 2, 3, 4, 5]
    with pytest.raises(DataError, match=r"another run .* a smaller --limit"):
        records(4)
