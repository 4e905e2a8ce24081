"""Parquet files wherever rows are read: the same rows as from JSON lines, and what JSON has no form for refused."""

from __future__ import annotations

import datetime
import decimal
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

import guardrail
from guardrail.datasets import parquet
from guardrail.datasets.claims import load_claim_rows
from guardrail.datasets.paraphrases import load_paraphrase_rows
from guardrail.datasets.parquet import read_parquet, write_parquet
from guardrail.datasets.questions import data_hash, load_data
from guardrail.errors import DataError, MissingExtraError
from guardrail.grading.hand_labels import load_hand_labels
from guardrail.testing import tiny_local_model

QUESTIONS = [
    {"question": "Capital of Japan?", "answers": ["Tokyo"], "paraphrases": ["Japan's capital?"], "kind": "capital"},
    {
        "question": "Capital of Peru?",
        "answers": ["Lima", "City of Lima"],
        "labels": [{"answer": "Lima.", "correct": True}],
    },
]
CLAIMS = [
    {"question": "What of Japan?", "facts": [{"about": ["capital"], "values": ["Tokyo"]}]},
    {"question": "What of Peru?", "facts": [{"statements": ["Lima is its capital."]}], "id": "p"},
]


def both(tmp_path, rows):
    """The rows as JSON lines and as a table."""
    lines, table = tmp_path / "rows.jsonl", tmp_path / "rows.parquet"
    lines.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    keys = dict.fromkeys(key for row in rows for key in row)
    pq.write_table(pa.table({key: [row.get(key) for row in rows] for key in keys}), table)
    return str(lines), str(table)


@pytest.mark.parametrize(
    ("rows", "read"),
    [
        (QUESTIONS, lambda path: load_data(path, "calibration").rows),
        (QUESTIONS, lambda path: data_hash(load_data(path, "calibration").rows)),
        (QUESTIONS, lambda path: [row.extra for row in load_data(path, "calibration").rows]),
        (CLAIMS, load_claim_rows),
        ([{**row, "paraphrases": [f"{row['question']} Say."]} for row in QUESTIONS], load_paraphrase_rows),
        ([{"question": "Q?", "answer": "A", "correct": False}], load_hand_labels),
    ],
)
def test_the_rows_are_those_of_json_lines(tmp_path, rows, read):
    lines, table = both(tmp_path, rows)
    assert read(table) == read(lines)


def test_an_error_names_the_row(tmp_path):
    _, table = both(tmp_path, [*QUESTIONS, {"question": " ", "answers": ["x"]}])
    with pytest.raises(DataError, match=r"rows\.parquet:3: `question` is empty"):
        load_data(table, "calibration")


@pytest.mark.parametrize(
    ("value", "told"),
    [(float("nan"), "`x` is nan"), (float("inf"), "`x` is inf"), (b"\x00", "`x` is of the type bytes")],
)
def test_what_json_has_no_form_for_is_refused(tmp_path, value, told):
    pq.write_table(pa.Table.from_pylist([{"x": value}]), tmp_path / "bad.parquet")
    with pytest.raises(DataError, match=told):
        list(read_parquet(tmp_path / "bad.parquet"))


def test_dates_and_decimals_come_as_text(tmp_path):
    row = {
        "day": datetime.date(2026, 11, 30),
        "price": decimal.Decimal("1.50"),
        "none": None,
        "in": [{"a": 1, "b": None}],
    }
    pq.write_table(pa.Table.from_pylist([row]), tmp_path / "x.parquet")
    assert list(read_parquet(tmp_path / "x.parquet")) == [(1, {"day": "2026-11-30", "price": "1.50", "in": [{"a": 1}]})]


@pytest.mark.parametrize("content", [b"", b"PAR1", b"{}\n" * 50])
def test_what_is_no_table_is_refused(tmp_path, content):
    (tmp_path / "x.parquet").write_bytes(content)
    with pytest.raises(DataError, match="no Parquet file that can be read"):
        list(read_parquet(tmp_path / "x.parquet"))
    with pytest.raises(DataError, match="cannot read it"):
        list(read_parquet(tmp_path / "absent.parquet"))


@given(
    rows=st.lists(
        st.fixed_dictionaries({"n": st.booleans()}, optional={"a": st.integers(0, 9), "b": st.text("xyé", max_size=4)}),
        max_size=9,
    )
)
def test_rows_come_back_from_a_table_as_they_were(tmp_path_factory, rows):
    folder = tmp_path_factory.mktemp("table")
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    write_parquet(folder / "rows.jsonl", folder / "rows.parquet")
    assert [row for _, row in read_parquet(folder / "rows.parquet")] == rows


def test_scores_go_into_a_table_and_rows_come_from_one(tmp_path):
    local = tiny_local_model()
    rows = [{"prompt": f"Number {i}?", "response": f"It is {i}.", "id": i} for i in range(5)] + [
        {"prompt": "no answer"}
    ]
    _, table = both(tmp_path, rows)
    done = guardrail.score(local, table, tmp_path / "out.parquet", paper=True)
    assert (done.scored, done.failed) == (5, 1)
    alone = guardrail.score(local, rows, paper=True).rows
    assert tuple(row for _, row in read_parquet(tmp_path / "out.parquet")) == alone
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.parquet", "rows.jsonl", "rows.parquet"]


def test_rows_that_make_no_table_stay_as_lines(tmp_path):
    local = tiny_local_model()
    rows = [{"prompt": "a?", "response": "b", "id": 1}, {"prompt": "a?", "response": "b", "id": ["one"]}]
    with pytest.raises(
        DataError, match=r"make no table .* in '.*out\.parquet\.partial'; give an output that ends in \.jsonl"
    ):
        guardrail.score(local, rows, tmp_path / "out.parquet", paper=True)
    assert (tmp_path / "out.parquet.partial").read_text().count('"score"') == 2
    assert not (tmp_path / "out.parquet").exists()


def test_without_the_package_the_error_names_the_extra_before_anything_is_scored(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(MissingExtraError, match=r"hybridgrad-guardrail\[parquet\]"):
        guardrail.score("no such model", [], tmp_path / "out.parquet")
    with pytest.raises(MissingExtraError):
        list(parquet.read_parquet(tmp_path / "x.parquet"))
