import io
import json
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardrail.datasets.questions import (
    QuestionRow,
    check_no_leak,
    data_hash,
    load_question_rows,
    question_digest,
    read_jsonl,
)
from guardrail.errors import DataError
from guardrail.grading.protocol import AnswerRow
from guardrail.grading.rules import AliasGrader

ROW = {"question": "What is the capital of France?", "answers": ["Paris"]}


@pytest.fixture
def write(tmp_path):
    def write(content):
        path = tmp_path / "q.jsonl"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def test_bom_blank_lines_crlf_and_a_missing_last_newline(write):
    path = write(b'\xef\xbb\xbf{"a": 1}\r\n\r\n  \n{"a": "\xe2\x80\xa8"}\n{"a": 3}')
    assert list(read_jsonl(path)) == [(1, {"a": 1}), (4, {"a": "\u2028"}), (5, {"a": 3})]


def test_a_huge_line(write):
    assert next(read_jsonl(write(json.dumps({"a": "x" * 3_000_000}))))[1]["a"] == "x" * 3_000_000


def test_standard_input(monkeypatch):
    class Stdin:
        buffer = io.BytesIO(b'{"a": 1}\n[]\n')

    monkeypatch.setattr(sys, "stdin", Stdin)
    rows = read_jsonl("-")
    assert next(rows) == (1, {"a": 1})
    with pytest.raises(DataError, match=r"^<stdin>:2: a row must be an object in braces, not a list$"):
        next(rows)
    assert not Stdin.buffer.closed


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b'{"a": }', "not JSON: Expecting value at column 7"),
        (b'{"a": "\xff"}', r"not UTF-8 \(byte 8 of the line\)"),
        (b'{"a": NaN}', "NaN is not a JSON number"),
        (b'{"a": [-Infinity]}', "-Infinity is not a JSON number"),
        (b'{"a": 1e999}', "1e999 is too large"),
        (b'{"a": ' + b"9" * 5000 + b"}", "not JSON that can be used"),
        (b"[" * 200_000, "not JSON that can be used"),
        (b'{"a": "\\uD800"}', "half of a surrogate pair"),
        (b"null", "not null"),
        (b'"a"', "not a string"),
        ("ÿþ{}".encode("latin-1"), "not UTF-8"),
    ],
)
def test_bad_lines_are_named_by_file_and_line(write, line, message):
    path = write(b"{}\n" + line + b"\n")
    rows = read_jsonl(path)
    assert next(rows) == (1, {})
    with pytest.raises(DataError, match=message) as e:
        next(rows)
    assert str(e.value).startswith(f"{path}:2: ")
    assert "\n" not in str(e.value)


def test_a_whole_surrogate_pair_is_a_character(write):
    assert next(read_jsonl(write(b'{"a": "\\ud83d\\ude00"}')))[1] == {"a": "😀"}


def test_a_file_that_cannot_be_read(tmp_path):
    for path in (tmp_path / "none.jsonl", tmp_path):
        with pytest.raises(DataError, match=f"^{path}: cannot read it: "):
            next(read_jsonl(path))


def test_rows_keep_extra_keys_and_order_and_drop_repeated_questions(write):
    lines = [
        {**ROW, "id": 7, "split": "held-out"},
        {"question": "Who wrote Hamlet?", "answers": ["Shakespeare", "William Shakespeare"]},
        {"question": "  what is the capital of FRANCE ", "answers": ["Lyon"]},
    ]
    rows = load_question_rows(write("\n".join(map(json.dumps, lines))))
    assert [r.answers for r in rows] == [("Paris", "Lyon"), ("Shakespeare", "William Shakespeare")]
    assert rows[0].extra == {"id": 7, "split": "held-out"}
    assert rows[0] == QuestionRow(ROW["question"], ("Paris", "Lyon"))


def test_a_sign_that_stands_for_letters_is_an_answer(write):
    (row,) = load_question_rows(write(json.dumps({"question": "Which month ends the year?", "answers": ["㋋"]})))
    assert AliasGrader().grade([AnswerRow(row.question, "12月", row.answers)]) == [True]


def test_limit_counts_distinct_questions(write):
    path = write("\n".join([json.dumps(ROW)] * 3 + [json.dumps({**ROW, "question": "And of Peru?"})]))
    assert len(load_question_rows(path, limit=2)) == 2
    assert len(load_question_rows(path, limit=1)) == 1
    with pytest.raises(DataError, match="at least 1, not 0"):
        load_question_rows(path, limit=0)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"question": "Q?"}, "no `answers`; a row looks like"),
        ({"answers": ["a"]}, "no `question`; a row looks like"),
        ({"question": 3, "answers": ["a"]}, "`question` must be a string, not a number"),
        ({"question": " \t", "answers": ["a"]}, "`question` is empty"),
        ({"question": "Q?", "answers": "Paris"}, "must be a list of strings.*not a string"),
        ({"question": "Q?", "answers": []}, "`answers` is empty"),
        ({"question": "Q?", "answers": ["a", 7]}, "`answers` holds a number; put it in quotes"),
        ({"question": "Q?", "answers": ["a", " "]}, "no letter or digit"),
        ({"question": "Q?", "answers": None}, "not null"),
    ],
)
def test_bad_rows_are_named_by_file_and_line(write, row, message):
    path = write("\n" + json.dumps(row))
    with pytest.raises(DataError, match=message) as e:
        load_question_rows(path)
    assert str(e.value).startswith(f"{path}:2: ")


def test_an_empty_file_is_no_data(write):
    with pytest.raises(DataError, match="no rows; write one a line"):
        load_question_rows(write("\n\n"))


def test_the_hash_sees_content_only():
    a, b = QuestionRow("Q1?", ("x", "y"), {"id": 1}), QuestionRow("Q2?", ("z",))
    assert data_hash([a, b]) == data_hash([b, QuestionRow("Q1?", ("y", "x"))])
    assert data_hash([a, b]) != data_hash([a])
    assert data_hash([a]) != data_hash([QuestionRow("Q1?", ("x",))])
    assert len(data_hash([])) == 64


@given(st.lists(st.tuples(st.text(), st.lists(st.text(), min_size=1)), max_size=4), st.randoms(use_true_random=False))
def test_the_hash_takes_any_text_in_any_order(items, random):
    rows = [QuestionRow(q, tuple(a)) for q, a in items]
    assert data_hash(rows) == data_hash(random.sample(rows, len(rows)))


def test_a_leak_is_refused_and_named():
    check_no_leak([question_digest("Q3?")], ["Q1?", "Q2?"])
    with pytest.raises(DataError, match=r"1 of these questions .* 'Q2\?'"):
        check_no_leak([question_digest(" q2 ")], ["Q1?", "Q2?"])
