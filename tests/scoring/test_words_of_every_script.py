"""New words in every script: a small set of questions and answers in two languages each, written for this test."""

from __future__ import annotations

import json
import re
import unicodedata
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardrail.runs.returned import holds
from guardrail.scoring.baselines.equivalence import token_f1
from guardrail.scoring.stacked.evidence import NAMES, PREFIX, evidence_features, evidence_reading
from guardrail.scoring.stacked.words import asked_words, telling_tokens, token_pieces, words_of
from guardrail.segmentation import word_spans, words_in
from tests.helpers.tokenizer_kinds import byte_level

ROWS = [
    json.loads(line) for line in (Path(__file__).parent / "bilingual.jsonl").read_text(encoding="utf-8").splitlines()
]
UNSPACED = ("zh", "zh-Hant", "ja", "th", "lo", "km")


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["language"])
def test_new_words_are_found(row) -> None:
    """In both languages what is new is the answer itself; `\\w+` gives one word for a whole sentence without spaces."""
    words = words_of(list(row["answer"]))
    assert [w.text for w in words if w.text not in asked_words(row["question"])] == row["new"]
    question, answer = row["english"]
    new = [w for w in words_in(answer) if w.casefold() not in asked_words(question)]
    assert 0 < len(new) <= 5
    if row["language"] in UNSPACED:
        assert [w for w in re.findall(r"\w+", row["answer"]) if w not in row["question"]] != row["new"]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["language"])
def test_the_tokens_of_new_words_are_found(row) -> None:
    """By a tokenizer whose tokens end inside characters: those that tell hold the new words, and not the whole answer."""
    ids = byte_level().encode(row["answer"], add_special_tokens=False)
    pieces = token_pieces(byte_level(), ids)
    assert "".join(pieces) == row["answer"]
    telling = telling_tokens(words_of(pieces), asked_words(row["question"]), len(ids))
    said = "".join(pieces[t] for t in telling).casefold()
    assert all(word in said for word in row["new"])
    assert len(said) < len(row["answer"])


def test_a_passage_holds_the_words_of_an_answer_in_its_script() -> None:
    reading = evidence_reading("日本的首都是哪里？", ["日本的首都是东京，人口约一千四百万。"], [-1.0], 1.0)
    for answer, missing in (("东京", 0.0), ("大阪", 1.0)):
        found = evidence_features(reading, asked_words("日本的首都是哪里？"), words_of(list(answer)), [True])  # type: ignore[arg-type]
        assert found[PREFIX + NAMES[-1]] == missing


def test_answers_in_one_script_are_compared_word_by_word() -> None:
    assert token_f1("东京", "是东京") == pytest.approx(2 * 1 / 3)
    assert holds("東京です。", "東京")
    assert not holds("京都です。", "東京")


@given(st.text(st.characters(codec="latin-1"), max_size=60))
def test_western_text_is_cut_as_ever(text: str) -> None:
    assert words_in(text) == re.findall(r"\w+", text)


@given(st.text(st.sampled_from("aé1_ .東京のパดี่क्ि😀𠮷\u0301\u200d\n"), max_size=30))
def test_words_lie_in_the_text_in_order_and_hold_all_letters(text: str) -> None:
    spans = list(word_spans(text))
    assert all(a < b for a, b in spans)
    assert all(one[1] <= two[0] for one, two in pairwise(spans))
    inside = {i for a, b in spans for i in range(a, b)}
    assert {i for i, c in enumerate(text) if c.isalnum()} <= inside
    assert not any(unicodedata.category(text[i])[0] in "ZCP" and text[i] not in "_\u200d" for i in inside)
