import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardrail.datasets.questions import load_data
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
