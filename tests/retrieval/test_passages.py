"""Files become passages of bounded length that can be understood alone; what cannot be read says where."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardrail.errors import RetrievalError
from guardrail.retrieval.passages import MAX_CHARACTERS, Passage, read_passages, split

if TYPE_CHECKING:
    from pathlib import Path


def test_paragraphs_are_passages() -> None:
    assert list(split("One.\nStill one.\n\n \nTwo.\r\n\r\nThree.")) == ["One.\nStill one.", "Two.", "Three."]


def test_headings_go_with_what_stands_under_them() -> None:
    text = "# Mali\n## Capital\nIt is Bamako.\n\nIt lies on the Niger.\n## Money\n# Chad\nIts capital is N'Djamena."
    expected = [
        "Mali / Capital\nIt is Bamako.",
        "Mali / Capital\nIt lies on the Niger.",
        "Mali / Money",
        "Chad\nIts capital is N'Djamena.",
    ]
    assert list(split(text)) == expected


def test_a_long_paragraph_is_cut_after_a_sentence() -> None:
    text = "The first sentence is here. The second one follows. The third is last."
    assert list(split(text, 55)) == ["The first sentence is here. The second one follows.", "The third is last."]
    assert list(split("x" * 120, 50)) == ["x" * 50, "x" * 50, "x" * 20]
    assert list(split("aaaa bbbb cccc", 9)) == ["aaaa bbbb", "cccc"]


@given(st.text(alphabet="ab#. \n", max_size=300), st.integers(20, 60))
def test_nothing_is_lost_and_no_piece_is_too_long(text: str, limit: int) -> None:
    pieces = list(split(text, limit))
    assert all(0 < len(piece) <= limit for piece in pieces)
    body = "".join(c for line in text.split("\n") if not line.startswith("#") for c in line if c in "ab")
    assert sum(piece.count("a") + piece.count("b") for piece in pieces) >= len(body)


def test_a_folder_is_read_in_order_with_its_subfolders(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "c.md").write_text("C.")
    (tmp_path / "b.txt").write_text("\ufeffB.", encoding="utf-8")
    (tmp_path / "a.md").write_text("A.\n\nAA.")
    (tmp_path / "ignored.py").write_text("no")
    expected = (Passage("A.", "a.md"), Passage("AA.", "a.md"), Passage("B.", "b.txt"), Passage("C.", "sub/c.md"))
    assert read_passages(tmp_path) == expected
    assert read_passages(tmp_path / "b.txt") == (Passage("B.", "b.txt"),)


def test_rows(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(
        '{"id": "bf", "title": "Burkina Faso", "text": "Its capital is Ouagadougou.", "year": 2020}\n'
        "\n"
        '{"title": "Mali", "text": "The capital of Mali is Bamako."}\n'
        '{"id": 7, "text": "Line\u2028separator."}\n',
        encoding="utf-8",
    )
    assert read_passages(path) == (
        Passage("Burkina Faso\nIts capital is Ouagadougou.", "bf"),
        Passage("The capital of Mali is Bamako.", "rows.jsonl:3"),
        Passage("Line\u2028separator.", "7"),
    )


def test_every_piece_of_a_long_row_has_its_title(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"id": "x", "title": "Gold", "text": "%s"}\n' % ("A word. " * 300))
    passages = read_passages(path)
    assert len(passages) > 1
    assert all(p.text.startswith("Gold\n") and len(p.text) <= MAX_CHARACTERS for p in passages)


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ('{"title": "no text"}', "the row has no 'text'"),
        ('{"text": "  "}', "the row has no 'text'"),
        ('{"text": 5}', "the row has no 'text'"),
        ('{"text": "a", "title": 5}', "'title' is not a text"),
        ("[1]", "a row is an object such as {'id': ..., 'title': ..., 'text': ...}"),
        ("{", "not valid JSON: "),
    ],
)
def test_a_bad_row_has_file_and_line(tmp_path: Path, row: str, expected: str) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"text": "fine"}\n' + row + "\n")
    with pytest.raises(RetrievalError) as caught:
        read_passages(path)
    assert str(caught.value).startswith(f"{path}:2: {expected}")


def test_what_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "empty.txt").write_text(" \n")
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9")
    (tmp_path / "table.csv").write_text("a,b")
    (tmp_path / "none").mkdir()
    expected = {
        "missing": "no such file or folder; give a folder of .txt or .md files, or a .jsonl file",
        "none": "no .txt or .md file in this folder",
        "table.csv": "cannot read .csv files; use .txt, .md or .jsonl",
        "empty.txt": "no text in it",
        "latin.txt": "not UTF-8 at byte 3; save it as UTF-8",
    }
    for name, message in expected.items():
        with pytest.raises(RetrievalError) as caught:
            read_passages(tmp_path / name)
        assert str(caught.value) == f"{tmp_path / name}: {message}"
