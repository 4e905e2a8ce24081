"""The page of claims, without a browser: well formed, closed, escaped, labelled."""

from __future__ import annotations

import base64
import hashlib
import re
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime
from html.parser import HTMLParser

import pytest

from guardrail.errors import DataError
from guardrail.html import claims_page
from guardrail.html.page import visible
from guardrail.types import Evidence
from tests.helpers import sample_verdicts

MADE = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)
VOID = {"meta", "br", "link", "img", "input", "hr"}
ROLES = {"table", "rowgroup", "row", "columnheader", "rowheader", "cell", "tooltip"}


class Tree(HTMLParser):
    """Every element with its attributes and text; fails where tags do not nest. own: without markers and notes."""

    def __init__(self, html):
        super().__init__()
        self.elements, self.stack, self.doctype = [], [], ""
        self.feed(html)
        self.close()
        assert not self.stack, self.stack

    def handle_decl(self, decl):
        self.doctype = decl

    def handle_starttag(self, tag, attrs):
        assert len({name for name, _ in attrs}) == len(attrs), (tag, attrs)
        element = {"tag": tag, "text": "", "own": "", "in": [e["tag"] for e in self.stack], **dict(attrs)}
        self.elements.append(element)
        if tag not in VOID:
            self.stack.append(element)

    def handle_endtag(self, tag):
        assert self.stack.pop()["tag"] == tag

    def handle_data(self, data):
        for element in self.stack:
            element["text"] += data
            if not {"number", "note"} & {e.get("class") for e in self.stack}:
                element["own"] += data

    def all(self, **wanted):
        return [e for e in self.elements if all(v in e.get(k, "").split() for k, v in wanted.items())]


def tree(name):
    return Tree(claims_page(sample_verdicts.ALL[name](), question=sample_verdicts.QUESTION, made=MADE))


@pytest.mark.parametrize("name", sample_verdicts.ALL)
def test_the_page_is_well_formed_and_every_reference_leads_somewhere(name):
    found = tree(name)
    assert found.doctype == "doctype html"
    ids = Counter(e["id"] for e in found.elements if "id" in e)
    assert max(ids.values()) == 1
    for element in found.elements:
        for key in ("aria-labelledby", "aria-describedby"):
            assert element.get(key, "shown") in ids
        if element["tag"] == "a":
            assert element["href"][0] == "#"
            assert element["href"][1:] in ids
        assert element.get("role", "table") in ROLES
        inline = set(element["in"]) & {"span", "p", "a", "b", "summary", "del"}
        assert not (element["tag"] in {"div", "p", "section", "table", "ul", "dl", "details", "blockquote"} and inline)
    headings = [e["tag"] for e in found.elements if re.fullmatch(r"h\d", e["tag"])]
    assert headings[0] == "h1"
    assert set(headings[1:]) == {"h2"}


@pytest.mark.parametrize("name", sample_verdicts.ALL)
def test_the_page_loads_nothing_and_allows_only_its_own_style_and_script(name):
    found = tree(name)
    assert {e["tag"] for e in found.elements} & {
        "img",
        "link",
        "iframe",
        "object",
        "form",
        "base",
        "svg",
        "input",
    } == set()
    for element in found.elements:
        assert not {key for key in element if key.startswith("on") or key in ("style", "src", "srcset", "action")}
    csp = next(e["content"] for e in found.elements if e.get("http-equiv") == "Content-Security-Policy")
    assert csp.startswith("default-src 'none'; ")
    for tag, source in (("style", "style-src"), ("script", "script-src")):
        (element,) = found.all(tag=tag)
        digest = base64.b64encode(hashlib.sha256(element["text"].encode()).digest()).decode()
        assert f"{source} 'sha256-{digest}'" in csp
        assert not re.search(r"https?:|url\(|@import", element["text"])


@pytest.mark.parametrize("name", sample_verdicts.ALL)
def test_every_claim_has_a_place_a_note_a_row_and_its_label_in_words(name):
    found, verdict = tree(name), sample_verdicts.ALL[name]()
    markers = [e for e in found.elements if e.get("class") == "number"]
    assert [m["id"] for m in sorted(markers, key=lambda m: int(m["id"][6:]))] == [
        f"place-{n}" for n in range(1, len(verdict.claims) + 1)
    ]
    for number, claim in enumerate(verdict.claims, start=1):
        p = claim.confidence.p_correct
        known = p is not None and p == p
        label, shown = (claim.label, f"{p:.2f}") if known else ("unknown", "none")
        (marker,) = found.all(id=f"place-{number}")
        assert marker["text"].startswith(f"claim {number} {label}")
        assert (shown in marker["text"]) == known
        (note,) = found.all(id=f"note-{number}")
        assert f"{label}: {shown}" in note["text"]
        assert claim.decision.explanation in note["text"]
        (row,) = found.all(id=f"claim-{number}")
        for part in (visible(claim.text), label, shown):
            assert part in row["text"]
        for passage in claim.evidence:
            assert visible(passage.text) in row["text"]
            assert visible(passage.source) in row["text"]


@pytest.mark.parametrize("name", sample_verdicts.ALL)
def test_the_whole_answer_is_there_with_its_decision(name):
    found, verdict = tree(name), sample_verdicts.ALL[name]()
    (answer,) = [e for e in found.elements if e.get("class") == "text answer"]
    assert answer["own"] == (visible(verdict.answer) or "(nothing)")
    text = found.all(tag="main")[0]["text"]
    for part in (verdict.text, verdict.rule, verdict.explanation, verdict.model, "2026-01-02 03:04 UTC"):
        assert visible(part) in text


def test_dropped_claims_are_struck_through_and_say_so():
    found = tree("city")
    assert [e["text"] for e in found.elements if e["tag"] == "del"][1:] == [
        "Its mayor is Jean Moulin.",
        "It has 12 million inhabitants.",
        "The film was invented there.",
    ]
    assert found.all(id="place-5")[0]["text"] == "claim 5 very low 0.12, dropped"
    assert found.all(id="place-3")[0]["text"] == "claim 3 medium 0.52, hedged"
    assert "7 claims: 2 kept, 1 hedged, 3 dropped, 1 left to look up." in found.all(tag="main")[0]["text"]


def test_what_several_claims_share_names_them_all():
    found = tree("overlapping")
    first = next(e for e in found.elements if e["tag"] == "span" and e.get("class", "").startswith("claim "))
    assert first["class"] == "claim l-low"  # the least certain of the two
    assert "claim 1, very high" in first["text"]
    assert "claim 2, low" in first["text"]


def test_claims_that_could_not_be_placed_are_reported():
    text = tree("city").all(tag="main")[0]["text"]
    assert "unaligned: its place in the answer was not found Lyon has an airport." in text


def test_hostile_text_stays_text():
    html = claims_page(sample_verdicts.hostile(), question='"><script>alert(3)</script>\u202e\x00', made=MADE)
    html.encode("utf-8")
    assert html.count("<script>") == 1
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]", html)
    for code in ("001B", "0000", "202E", "202C", "D83D"):
        assert f"⟨U+{code}⟩" in html
    assert "{{ 7*7 }}" in html


def test_evidence_of_the_whole_answer_and_the_first_answer():
    verdict = sample_verdicts.city()
    first = replace(verdict.attempts[0], answer="Lyon is a river.")
    last = replace(verdict.attempts[0], evidence=(Evidence("Lyon is a city.", "a.txt", None),))
    text = Tree(claims_page(replace(verdict, attempts=(first, last)), question="q")).all(tag="main")[0]["text"]
    for part in ("Lyon is a river.", "a.txt", "Lyon is a city."):
        assert part in text


def test_a_page_without_claims_says_so():
    assert "No claims: the answer was not taken apart" in claims_page(sample_verdicts.without_claims(), question="Hi")


def test_a_claim_that_is_not_in_the_answer_is_refused():
    verdict = sample_verdicts.city()
    with pytest.raises(DataError, match="no part of an answer of 5 characters"):
        claims_page(replace(verdict, attempts=(replace(verdict.attempts[0], answer="short"),)), question="q")


def test_the_same_verdict_makes_the_same_page():
    pages = {claims_page(sample_verdicts.city(), question="q", made=MADE) for _ in range(2)}
    assert len(pages) == 1
