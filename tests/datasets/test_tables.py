import csv
import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardrail.datasets.questions import load_data, load_question_rows
from guardrail.datasets.tables import read_table
from guardrail.errors import DataError


@pytest.fixture
def write(tmp_path):
    def write(content, name="q.csv"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return str(path)

    return write


def test_quotes_newlines_bom_crlf_and_lists(write):
    path = write(
        b"\xef\xbb\xbfquestion,answers,paraphrases,id,labels\r\n"
        b'"What is ""it"", and\r\nwhy?",Paris|Lutetia,What?|Why?,7,\r\n'
        b"\r\n"
        b'Who?,"[""a|b"", ""c""]",,,"[{""answer"": ""d"", ""correct"": true}]"\r\n'
    )
    assert list(read_table(path)) == [
        (f"{path}:2", {"question": 'What is "it", and\r\nwhy?', "answers": ["Paris", "Lutetia"],
                       "paraphrases": ["What?", "Why?"], "id": "7"}),
        (f"{path}:5", {"question": "Who?", "answers": ["a|b", "c"], "labels": [{"answer": "d", "correct": True}]}),
    ]  # fmt: skip
    data = load_data(path, "heldout")
    assert [row.answers for row in data.rows] == [("Paris", "Lutetia"), ("a|b", "c")]
    assert data.source == {"kind": "file", "name": "q.csv"}


def test_a_tsv_with_its_own_separator(write):
    path = write('question\tanswers;\nQ, really?\tParis; Lutetia\n"T\tab"\ta|b\n', "q.tsv")
    assert [row for _, row in read_table(path)] == [
        {"question": "Q, really?", "answers": ["Paris", "Lutetia"]},
        {"question": "T\tab", "answers": ["a|b"]},
    ]


@pytest.mark.parametrize(
    ("content", "line", "says"),
    [
        ("question;answers\nQ;a\n", 1, "no column `question`; its columns are 'question;answers'"),
        ("question,answer\nQ,a\n", 1, "no column `answers`"),
        ("question,answers,id,id\nQ,a,1,2\n", 1, "the column 'id' twice"),
        ("question,answers\nQ,a\nR,b,c\n", 3, "3 cells where the header has 2; put a cell with separators in quotes"),
        ('question,answers\n"Q\n1",a\nR\n', 4, "1 cells where the header has 2"),
        ('question,answers\nQ,"a\n', 2, "double the quotes"),
        ('question,answers\nQ,"a"b\n', 2, "double the quotes"),
        (b"question,answers\nQ,a\nR,\xe9\n", 3, "not UTF-8; save the file as UTF-8"),
        ('question,answers\nQ,"[a]"\n', 2, "the cell of `answers` is not JSON"),
        ("question,answers\n,a\n", 2, "no `question`"),
        ("question,answers\nQ,\n", 2, "no `answers`"),
        ("question,answers\nQ,|\n", 2, "`answers` is empty"),
        ("question,answers\nQ,?\n", 2, "no letter or digit"),
        ("question,answers,labels\nQ,a,yes\n", 2, "the cell of `labels` is not JSON"),
        (f"question,answers,labels\nQ,a,{'[' * 100_000}\n", 2, "the cell of `labels` is not JSON"),
        (f"question,answers\nQ,{'[' * 100_000}\n", 2, "the cell of `answers` is not JSON"),
    ],
)
def test_errors_name_the_line_where_the_row_begins(write, content, line, says):
    path = write(content)
    with pytest.raises(DataError, match=says) as error:
        load_data(path, "heldout")
    assert str(error.value).startswith(f"{path}:{line}: ")


@pytest.mark.parametrize("content", ["", "\n\n", "question,answers\n"])
def test_a_table_without_rows(write, content):
    with pytest.raises(DataError, match="no rows"):
        load_data(write(content), "heldout")


def test_a_table_that_is_not_there(tmp_path):
    with pytest.raises(DataError, match=r"none\.csv: cannot read it"):
        load_data(str(tmp_path / "none.csv"), "heldout")


CELL = st.text(st.characters(blacklist_categories=("Cs",), blacklist_characters="\0"), max_size=12)


@given(rows=st.lists(st.tuples(CELL, CELL), min_size=1, max_size=5), tab=st.booleans())
def test_what_the_csv_module_writes_is_read_again(rows, tab, tmp_path_factory):
    out = io.StringIO(newline="")
    writer = csv.writer(out, delimiter="\t" if tab else ",")
    writer.writerow(["question", "answers", "note"])
    writer.writerows([f"Q {i}", "a", f"x{text}{other}y"] for i, (text, other) in enumerate(rows))
    path = tmp_path_factory.mktemp("t") / ("t.tsv" if tab else "t.csv")
    path.write_bytes(out.getvalue().encode())
    assert [row["note"] for _, row in read_table(str(path))] == [f"x{text}{other}y" for text, other in rows]


@pytest.mark.parametrize(
    ("cell", "answers"),
    [
        ("['Paris', 'paris']", ("Paris", "paris")),
        ("['Paris' 'City of Paris']", ("Paris", "City of Paris")),
        ("['Paris'\n 'City of Paris']", ("Paris", "City of Paris")),
        ("""["O'Brien", 'it']""", ("O'Brien", "it")),
        ("""["O'Brien" 'it']""", ("O'Brien", "it")),
        (r"['caf\xe9', 'a\'b']", ("café", "a'b")),
        ("['Rome',]", ("Rome",)),
        ('["Paris", "paris"]', ("Paris", "paris")),
        ("(Paris) | {x}", ("(Paris)", "{x}")),
    ],
)
def test_lists_as_python_pandas_and_numpy_print_them(tmp_path, cell, answers):
    path = tmp_path / "q.csv"
    with path.open("w", encoding="utf-8", newline="") as out:
        csv.writer(out).writerows([["question", "answers"], ["Which?", cell]])
    assert load_question_rows(path)[0].answers == answers


@pytest.mark.parametrize(
    "cell",
    ["[b'a']", "['a' ... 'z']", "array(['a'], dtype=object)", "('a', 'b')", "{'a'}", "['a', 'b' 'c']", "['a' 'b', 'c']", "['a",
     "['a', nan]", "['a', None]", "['a'.x]", "['a']['b']", r"['\ud800']", "[__import__('os')]", "[['a']]", "[f'{1}']",
     "[Paris]"],
)  # fmt: skip
def test_what_looks_like_a_printed_list_and_is_none_is_refused(tmp_path, cell):
    path = tmp_path / "q.csv"
    with path.open("w", encoding="utf-8", newline="") as out:
        csv.writer(out).writerows([["question", "answers"], ["Which?", cell]])
    with pytest.raises(DataError, match=r"q.csv:2: the cell of `answers` is not JSON, and not a list"):
        load_question_rows(path)


ROWS = [
    ("USA?", "Washington, D.C."),
    ("USA?", "Washington"),
    ("Italy?", "Rome"),
    ("usa", "Washington"),
    ("Italy?", "Roma"),
]


@pytest.mark.parametrize("form", ["csv", "tsv", "jsonl"])
def test_one_accepted_answer_a_row_is_accepted_in_every_row(tmp_path, form):
    path = tmp_path / f"q.{form}"
    if form == "jsonl":
        path.write_text("".join(json.dumps({"question": q, "answers": [a]}) + "\n" for q, a in ROWS))
    else:
        with path.open("w", newline="") as out:
            csv.writer(out, delimiter="," if form == "csv" else "\t").writerows([("question", "answers"), *ROWS])
    loaded = load_data(str(path), "calibration")
    assert [row.answers for row in loaded.rows] == [("Washington, D.C.", "Washington"), ("Rome", "Roma")]
    assert loaded.repeated == 3
    (one,) = load_data(str(path), "calibration", 1).rows
    assert one in loaded.rows  # with the answers of all its rows
