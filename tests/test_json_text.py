"""JSON in and out: what is refused, and that what is written can be read in every encoding."""

from __future__ import annotations

import io
import json
import re

import pytest

from guardrail.datasets.questions import load_data
from guardrail.errors import DataError, RetrievalError
from guardrail.json_text import dumps_for, parse
from guardrail.retrieval.passages import read_passages
from guardrail.runs.run_file import RunFile, read_run

TEXT = 'emoji 😀, arrow →, café, भारत, 日本, "quoted" \\ and \n line'
ENCODINGS = (
    "utf-8",
    "utf-16",
    "ascii",
    "latin-1",
    "cp1252",
    "cp437",
    "cp932",
    "shift_jis",
    "gb18030",
    "koi8_r",
    "utf-7",
)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('{"a": 1, "a": 2}', "the key 'a' comes twice"),
        ('[{"x": {"b": 1, "c": 1, "b": 1}}]', "the key 'b' comes twice"),
        ('{"a": 1, "\\u0061": 2}', "the key 'a' comes twice"),
        ("NaN", "NaN is not a JSON number"),
        ("[-Infinity]", "-Infinity is not a JSON number"),
        ("1e999", "the number 1e999 is too large"),
        ("9" * 5000, "is too large"),
        ("1" + "0" * 400, "is too large"),
        ("[" * 100_000, "nested deeper than 64 levels"),
        ('"\\ud83d"', "half of a surrogate pair"),
        ("{'a': 1}", "Expecting property name"),
        ("", "Expecting value"),
    ],
)
def test_what_the_next_reader_would_read_otherwise_is_refused(text, says):
    with pytest.raises(ValueError, match=re.escape(says)):
        parse(text)


def test_equal_keys_in_different_objects_are_fine():
    assert parse('[{"a": 1}, {"a": {"a": 2}}]') == [{"a": 1}, {"a": {"a": 2}}]
    assert parse('"\\ud83d\\ude00"') == "😀"


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_written_json_is_json_in_every_encoding(encoding):
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding=encoding, errors="backslashreplace")
    stream.write(dumps_for(stream, {"text": TEXT, "half": "\ud83d"}))
    stream.flush()
    assert json.loads(raw.getvalue().decode(encoding)) == {"text": TEXT, "half": "\ud83d"}


def test_what_the_encoding_has_stands_as_it_is():
    assert dumps_for(io.TextIOWrapper(io.BytesIO(), encoding="cp1252"), "café") == '"café"'
    assert dumps_for(io.StringIO(), "😀") == '"😀"'


def test_a_key_that_comes_twice_is_refused_in_every_file_of_rows(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"question": "q", "answers": ["a"], "answers": ["b"]}\n')
    with pytest.raises(DataError, match=r"rows.jsonl:1: .*'answers' comes twice"):
        load_data(str(path), "calibration")
    table = tmp_path / "rows.csv"
    table.write_text('question,answers,labels\nq,a,"[{""answer"": ""x"", ""correct"": true, ""correct"": false}]"\n')
    with pytest.raises(DataError, match=r"rows.csv:2: .*'correct' comes twice"):
        load_data(str(table), "calibration")
    path.write_text('{"text": "a", "text": "b"}\n')
    with pytest.raises(RetrievalError, match=r"rows.jsonl:1: .*'text' comes twice"):
        read_passages(path)


def test_a_run_with_a_key_that_comes_twice_is_not_gone_on_with(tmp_path):
    path = tmp_path / "run.jsonl"
    path.write_text('{"kind": "a run"}\n{"key": "1", "correct": false, "correct": true}\n')
    for read in (read_run, lambda path: RunFile(path, {"kind": "a run"}, resume=True)):
        with pytest.raises(DataError, match=r"run.jsonl:2: the key 'correct' comes twice"):
            read(path)
