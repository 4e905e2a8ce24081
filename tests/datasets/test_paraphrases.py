"""Rows of paraphrases, and paraphrases by a chat model: what is read, dropped and refused."""

from __future__ import annotations

import json
import sys

import pytest

from guardrail.datasets.paraphrases import (
    ParaphraseRow,
    load_paraphrase_rows,
    paraphrases_hash,
    save_paraphrase_rows,
)
from guardrail.datasets.paraphrasing import asks_langchain, paraphrase, read_list
from guardrail.errors import DataError, MissingExtraError, ModelError


def write(path, *rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def row(question, *paraphrases, **more):
    return {"question": question, "paraphrases": list(paraphrases), **more}


def test_rows_are_read_and_copies_dropped(tmp_path):
    file = write(
        tmp_path / "p.jsonl",
        row("Who wrote Faust?", "By whom is Faust?", "who wrote faust", "By whom is Faust", answers=["Goethe"]),
        row("WHO WROTE FAUST?", "Whose is Faust?"),
        row("What is a lion?", "By whom is Faust?", "Lions are what?"),
    )
    rows = load_paraphrase_rows(file)
    assert rows == [
        ParaphraseRow("Who wrote Faust?", ("By whom is Faust?",)),
        ParaphraseRow("What is a lion?", ("Lions are what?",)),
    ]
    save_paraphrase_rows(tmp_path / "again.jsonl", rows)
    assert load_paraphrase_rows(tmp_path / "again.jsonl") == rows
    assert paraphrases_hash(rows) == paraphrases_hash(rows[::-1]) != paraphrases_hash(rows[:1])


def test_limits(tmp_path):
    file = write(tmp_path / "p.jsonl", *(row(f"Question {i}", f"{i} a", f"{i} b", f"{i} c") for i in range(5)))
    whole = load_paraphrase_rows(file, most=2)
    assert [r.paraphrases for r in whole[:2]] == [("0 a", "0 b"), ("1 a", "1 b")]
    some = load_paraphrase_rows(file, 2, most=2)
    assert len(some) == 2
    assert some == [row for row in whole if row in some]
    with pytest.raises(DataError, match="at least 2, not 1"):
        load_paraphrase_rows(file, 1)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "0 different questions"),
        ([row("a", "b")], "1 different questions"),
        ([row("a", "b"), row("A?", "c")], "1 different questions"),
        ([{"paraphrases": ["b"]}], r"p\.jsonl:1: no `question`"),
        ([row("a", "b"), {"question": "c"}], r":2: no `paraphrases`; .* --paraphrase-with"),
        ([row("a", "b"), row("c", "C?", "b")], ":2: none that was not there before"),
        ([row("a", "b"), {"question": "c", "paraphrases": "d"}], "must be a list of strings, not a string"),
        ([row("a", 3)], "`paraphrases` must be a string, not a number"),
        ([row(" ", "b")], "`question` is empty"),
    ],
)
def test_bad_rows(tmp_path, rows, message):
    with pytest.raises(DataError, match=message):
        load_paraphrase_rows(write(tmp_path / "p.jsonl", *rows))


def test_the_bundled_ones():
    rows = load_paraphrase_rows("bundled")
    assert len(rows) == 16
    assert {len(r.paraphrases) for r in rows} == {4}  # none of them is a copy


@pytest.mark.parametrize(
    ("reply", "items"),
    [
        ("1. A one?\n2. A two?", ["A one?", "A two?"]),
        ("Here you are:\n\n1) **A one?**\n\n2) “A two?”\n\nShall I go on?", ["A one?", "A two?"]),
        ("- A one?\n* A two?\n• A three?", ["A one?", "A two?", "A three?"]),
        ("**1.** A one?\n(2) A two?\n3: A three?\n4 - A four?", ["A one?", "A two?", "A three?", "A four?"]),
        ("1. A one that\n   goes on?\n2. A two?", ["A one that goes on?", "A two?"]),
        ("A one?\nA two?\nThat was all.", ["A one?", "A two?"]),
        ("1. 42\n2. ...\n3.", []),
        ("1984 was written by whom?", ["1984 was written by whom?"]),
        ("I cannot help with that.", []),
        ("", []),
    ],
)
def test_lists_are_read(reply, items):
    assert read_list(reply) == items


def test_missing_paraphrases_are_made_and_kept(tmp_path):
    rows = [ParaphraseRow("What is a lion?", ()), ParaphraseRow("Who wrote Faust?", ("Faust is by whom?",))]
    asked = []

    def ask(prompt):
        asked.append(prompt)
        return (
            "1. What is a lion?\n2. Lions are what?\n3. lions are what\n4. Faust is by whom?\n5. A lion is?\n6. More?"
        )

    made = paraphrase(rows, ask, 2, tmp_path / "out.jsonl")
    assert made == [ParaphraseRow("What is a lion?", ("Lions are what?", "A lion is?")), rows[1]]
    assert load_paraphrase_rows(tmp_path / "out.jsonl") == made
    assert len(asked) == 1
    assert "Write 2 paraphrases" in asked[0]
    assert asked[0].endswith("Question: What is a lion?")


def test_too_few_are_refused_and_the_others_kept(tmp_path):
    rows = [ParaphraseRow("A?", ()), ParaphraseRow("B?", ())]
    replies = iter(["1. Is it A?\n2. Could it be A?", "1. B?\n2. What about B?"])
    with pytest.raises(DataError, match=r"1 of 2 questions got fewer than 2 .* 'B\?', the reply '1\. B\? 2\. What"):
        paraphrase(rows, lambda _: next(replies), 5, tmp_path / "out.jsonl")
    kept = load_paraphrase_rows(tmp_path / "out.jsonl", complete=False)
    assert [len(r.paraphrases) for r in kept] == [2, 0]


def test_what_is_done_is_kept_when_it_is_interrupted(tmp_path):
    def ask(prompt):
        if prompt.endswith("B?"):
            raise KeyboardInterrupt
        return "1. Is it A?\n2. Could it be A?"

    with pytest.raises(KeyboardInterrupt):
        paraphrase([ParaphraseRow("A?", ()), ParaphraseRow("B?", ())], ask, 2, tmp_path / "out.jsonl")
    kept = load_paraphrase_rows(tmp_path / "out.jsonl", complete=False)
    assert [len(r.paraphrases) for r in kept] == [2, 0]


def test_models_of_langchain(monkeypatch):
    from langchain import chat_models
    from langchain_core.language_models import FakeListChatModel

    monkeypatch.setattr(chat_models, "init_chat_model", lambda spec: FakeListChatModel(responses=["1. By whom?"]))
    assert asks_langchain("some:model")("hello") == "1. By whom?"
    monkeypatch.undo()
    with pytest.raises(ModelError, match="LangChain cannot make 'nobody:model'"):
        asks_langchain("nobody:model")
    monkeypatch.setitem(sys.modules, "langchain.chat_models", None)
    with pytest.raises(MissingExtraError, match=r"hybridgrad-guardrail\[agents\]"):
        asks_langchain("some:model")
