"""Nothing of an answer is lost between Markdown and claims, and what is claimed can be rewritten."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guardrail.actions import rewrite
from guardrail.claims import SentenceClaims
from guardrail.claims.markdown import parse
from tests.helpers.marked_claims import judged

ODD_SPACES = ["\u00a0", "\u3000", "\u2028", "\u2029", "\f", "\v", "\x1c", "\x85"]
PIECES = st.sampled_from(
    [
        *["Tokyo ", "is big. ", "It rains. ", "42", "x", "Sure! ", "東京。", "Area: 5 ", "**", "_", "`", "😀", "\r"],
        *["\n", "\n\n", "\r\n", " ", "    ", "\t", ": ", ". ", "? ", "---\n", "===\n", "\0", "\ud800", "\u200b"],
        *["1. ", "2. ", "2.", "7) ", "42. ", "1868. ", "- ", "* ", "+ ", "• ", "(a) ", "b) ", "[x] ", "> ", "# "],
        *["| a | b |\n", "|---|---|\n", "|", "```\n", "<div>\n", "<br>", "[1]: u\n", ">" * 40, "- " * 30, *ODD_SPACES],
    ]
)
ANSWERS = st.lists(PIECES, max_size=25).map("".join) | st.text()
NUMBER = re.compile(r"(?:[\s>]|[-*+]\s)*(\d+)[.)]")
LETTER = re.compile(r"(?:[\s>*+-]|\d+[.)]\s)*(\([A-Za-z]\)|\(\d{1,3}\)|[a-z]\)|\[[xX]\])\s")


def kept(answer: str) -> list[str]:
    """The claims of an answer, which stays as it is when all of them are kept."""
    found = SentenceClaims().extract(answer)
    claims = [judged(answer, c.start, c.end, "keep", kind=c.kind) for c in found.claims]
    assert rewrite(answer, claims, found.asides).text == answer
    return [c.text for c in found.claims]


@settings(max_examples=1000, deadline=None)
@given(ANSWERS)
def test_every_letter_and_digit_is_in_a_claim_an_aside_or_the_mark_of_an_item(answer: str) -> None:
    found = SentenceClaims().extract(answer)
    held = {i for part in (*found.claims, *found.asides) for i in range(part.start or 0, part.end or 0)}
    page = parse(answer)
    for i in range(page.count):
        line, start = page.line(i), page.lines[i]
        number = NUMBER.match(line) if i in page.numbered else None
        marks = {at for m in (number, LETTER.match(line)) if m for at in range(*m.span(1))}
        assert not [c for at, c in enumerate(line) if c.isalnum() and start + at not in held and at not in marks]


@settings(max_examples=500, deadline=None)
@given(ANSWERS, st.data())
def test_whatever_is_claimed_can_be_kept_and_dropped(answer: str, data: st.DataObject) -> None:
    texts = kept(answer)
    found = SentenceClaims().extract(answer)
    actions = data.draw(st.lists(st.sampled_from(["keep", "drop"]), min_size=len(texts), max_size=len(texts)))
    claims = [judged(answer, c.start, c.end, a, kind=c.kind) for c, a in zip(found.claims, actions, strict=True)]
    shown = [claim.shown for claim in rewrite(answer, claims, found.asides).claims]
    assert [bool(text) for text in shown] == [action == "keep" for action in actions]


@pytest.mark.parametrize("odd", ODD_SPACES)
def test_a_line_of_odd_white_space_hides_nothing(odd: str) -> None:
    assert kept(f"{odd}\nParis is big.") == ["Paris is big."]
    assert kept(f"Lyon is small.\n{odd}\nParis is big.") == ["Lyon is small.", "Paris is big."]
    assert kept(f"- {odd}\n  Paris is big.\n> {odd}\n> Lyon is small.") == ["Paris is big.", "Lyon is small."]


def test_an_empty_item_is_an_item() -> None:
    answer = "1. Lyon is in France.\n2. \n\nParis is big."
    assert kept(answer) == ["Lyon is in France.", "Paris is big."]
    found = SentenceClaims().extract(answer)
    dropped, stays = (judged(answer, c.start, c.end, a) for c, a in zip(found.claims, ["drop", "keep"], strict=True))
    assert rewrite(answer, [dropped, stays]).text == "Paris is big."


@pytest.mark.parametrize(
    ("answer", "claims"),
    [
        ("42.", ["42."]),
        ("1. ", ["1."]),
        ("- 42.\n- 1868. Then it burnt.", ["42.", "1868. Then it burnt."]),
        ("1. 1868. Then it burnt.\n2. It rains.", ["1868. Then it burnt.", "It rains."]),
        ("> 1868. Then it burnt.", ["1868. Then it burnt."]),
        (">" * 60 + " Tokyo is big.\n" + "- " * 60 + "Osaka too.", ["Tokyo is big.", "Osaka too."]),
    ],
)
def test_a_number_is_that_of_an_item_only_beside_another(answer: str, claims: list[str]) -> None:
    assert kept(answer) == claims


def test_a_line_after_a_list_is_a_paragraph_unless_a_wrapper_broke_it() -> None:
    kinds = [
        (c.kind, c.text) for c in SentenceClaims().extract("1. Lyon is old.\n2. Paris is.\nBoth are large.").claims
    ]
    assert kinds == [("item", "Lyon is old."), ("item", "Paris is."), ("sentence", "Both are large.")]
    assert kept("- Paris is old\nand large.") == ["Paris is old\nand large."]
