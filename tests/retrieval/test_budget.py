"""Passages that are too long together are cut after whole words, the longest first."""

from __future__ import annotations

import pytest

from guardrail.retrieval.budget import CUT, fitted
from guardrail.types import Evidence


def cut(texts, most):
    found = fitted(
        [Evidence(text, str(i)) for i, text in enumerate(texts)], lambda some: sum(len(e.text) for e in some) <= most
    )
    assert sum(len(e.text) for e in found) <= most
    return [(e.source, e.text) for e in found]


def test_what_fits_stays():
    assert cut(["one two", "three"], 12) == [("0", "one two"), ("1", "three")]


def test_the_longest_gives_way():
    assert cut(["one two", "three four five six seven eight"], 32) == [
        ("0", "one two"),
        ("1", "three four five six" + CUT),
    ]


@pytest.mark.parametrize("most", range(10, 40))
def test_words_stay_whole(most):
    words = ["three", "four", "five", "six", "seven", "eight"]
    for _, text in cut([" ".join(words)], most):
        assert text.removesuffix(CUT).split() == words[: len(text.removesuffix(CUT).split())]


def test_a_text_without_spaces_is_cut_where_it_is():
    assert cut(["リ" * 100], 24) == [("0", "リ" * 20 + CUT)]


def test_none_where_not_a_word_fits():
    assert cut(["incomprehensibilities are long"], 3) == []
