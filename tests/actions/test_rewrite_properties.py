"""What holds of every rewritten answer, over generated Markdown with a claim in each sentence, item and row."""

from __future__ import annotations

import re
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from guardrail.actions import rewrite
from guardrail.claims.markdown import parse
from guardrail.types import ClaimDecision, JudgedClaim
from tests.helpers.marked_claims import judged

_CLAIM = re.compile(r"[A-Z]\w* fact \d+[^\n|.]*\.?")
_actions = st.sampled_from(["keep", "drop", "keep", "drop", "hedge"])


@st.composite
def answers(draw: st.DrawFn) -> str:
    """Paragraphs, lists (nested too), tables, headings, code and quotations; no two claims have the same text."""
    count = iter(range(10_000))

    def fact() -> str:
        return f"The fact {next(count)} {draw(st.sampled_from(['is *so*', 'é 🎉 x', 'has `code`', 'and more']))}."

    def sentences() -> str:
        return draw(st.sampled_from([" ", "\n"])).join(fact() for _ in range(draw(st.integers(1, 3))))

    def block() -> str:
        match draw(st.sampled_from(["text", "text", "bullets", "numbers", "table", "heading", "code", "quote"])):
            case "text":
                return sentences()
            case "bullets":
                nested = draw(st.booleans())
                return "\n".join(
                    f"- {fact()}" + (f"\n  - {fact()}" if nested else "") for _ in range(draw(st.integers(1, 3)))
                )
            case "numbers":
                first = draw(st.sampled_from([1, 1, 8]))
                return "\n".join(f"{first + i}. {fact()}" for i in range(draw(st.integers(1, 4))))
            case "table":
                return "| a | b |\n|---|---|\n" + "\n".join(f"| {fact()} | x |" for _ in range(draw(st.integers(1, 3))))
            case "heading":
                return "#" * draw(st.integers(1, 3)) + " Part"
            case "code":
                return "```\nx = 1\n\ny = 2\n```"
            case _:
                return "> " + sentences().replace("\n", "\n> ")

    return "\n\n".join(block() for _ in range(draw(st.integers(1, 5)))) + draw(st.sampled_from(["", "\n"]))


def claims_of(answer: str) -> list[JudgedClaim]:
    rows = {
        line for block in parse(answer).root.blocks() if block.kind == "row" for line in range(block.first, block.last)
    }
    return [
        judged(
            answer, m.start(), m.end(), "keep", kind="row" if answer.count("\n", 0, m.start()) in rows else "sentence"
        )
        for m in _CLAIM.finditer(answer)
    ]


def decided(claims: list[JudgedClaim], draw: st.DataObject) -> list[JudgedClaim]:
    return [replace(c, decision=ClaimDecision(draw.draw(_actions), "r", "e")) for c in claims]


@given(answers())
def test_keeping_everything_returns_every_byte(answer: str) -> None:
    assert rewrite(answer, claims_of(answer)).text == answer


@settings(max_examples=150)
@given(answers(), st.data())
def test_every_claim_is_where_its_action_says(answer: str, data: st.DataObject) -> None:
    claims = decided(claims_of(answer), data)
    out = rewrite(answer, claims)
    assert out.empty is (bool(claims) and all(c.action == "drop" for c in claims))
    for before, after, span in zip(claims, out.claims, out.spans, strict=True):
        if before.action == "drop":
            assert before.text not in out.text
            assert (after.shown, span) == ("", None)
        else:
            assert span is not None
            assert out.text[slice(*span)] == after.shown
            assert before.text.rstrip(".") in after.shown
            assert ("chance of being right" in after.shown) is (before.action == "hedge")
    assert "  " not in re.sub(r"^ +", "", out.text, flags=re.MULTILINE)
    assert "\n\n\n" not in out.text
    assert out.text == out.text.lstrip()


@given(answers(), st.data())
def test_the_structure_holds(answer: str, data: st.DataObject) -> None:
    """Blocks of what is left, read again: numbers in order, tables whole, no paragraph joined with its neighbour."""
    claims = decided(claims_of(answer), data)
    out = rewrite(answer, claims)
    before, after = parse(answer), parse(out.text)
    assert all(_in_order(block) for block in after.root.blocks()) or not all(map(_in_order, before.root.blocks()))
    for block in after.root.blocks():
        assert block.kind != "table" or any(child.kind == "row" for child in block.children)
    kinds = [leaf.kind for leaf in after.root.leaves()]
    assert kinds.count("row") == sum(c.claim.kind == "row" and c.action != "drop" for c in claims)
    for leaf in before.root.leaves():
        here = [c for c in claims if leaf.start <= c.claim.start < leaf.end and c.action != "drop"]
        where = {_leaf_of(after, out.spans[claims.index(c)]) for c in here}
        assert len(where) <= 1


def test_a_numbered_list_behind_bullets_is_a_list_of_its_own():
    one, two, three, four, five = (f"The fact {i} is *so*." for i in range(5))
    answer = f"- {one}\n\n{two}\n\n1. {three}\n2. {four}\n3. {five}"
    claims = [
        replace(c, decision=ClaimDecision(action, "r", "e"))
        for c, action in zip(claims_of(answer), ["keep", "drop", "keep", "drop", "keep"], strict=True)
    ]
    assert rewrite(answer, claims).text == f"- {one}\n\n1. {three}\n2. {five}"


@settings(max_examples=50)
@given(answers(), st.data())
def test_rewriting_what_was_rewritten_changes_nothing(answer: str, data: st.DataObject) -> None:
    claims = [
        c if c.action == "drop" else replace(c, decision=ClaimDecision("keep", "r", "e"))
        for c in decided(claims_of(answer), data)
    ]
    once = rewrite(answer, claims).text
    assert rewrite(once, claims_of(once)).text == once


@settings(max_examples=200)
@given(st.text(alphabet="aB1.,:*_`#>-|[]()\n\t \"'é🎉\r", max_size=60), st.data())
def test_any_text_can_be_rewritten(answer: str, data: st.DataObject) -> None:
    spans = data.draw(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), max_size=4))
    inside = [(s, e) for s, e in spans if s < e <= len(answer) and answer[s:e].strip(" \t\r\n>-*#|`_:1.[]()'\"")]
    claims = [
        judged(answer, s, e, data.draw(_actions), kind=data.draw(st.sampled_from(["sentence", "atomic"])))
        for s, e in inside
    ]
    out = rewrite(answer, claims)
    for claim, span in zip(out.claims, out.spans, strict=True):
        assert claim.shown == (out.text[slice(*span)] if span else "")
    if all(c.action == "keep" for c in claims):
        assert out.text == answer


def _leaf_of(page, span) -> int:  # type: ignore[no-untyped-def]
    return next(i for i, leaf in enumerate(page.root.leaves()) if leaf.start <= span[0] < max(leaf.end, leaf.start + 1))


def _in_order(block) -> bool:  # type: ignore[no-untyped-def]
    numbers = [item.number for item in block.children if block.kind == "list" and item.number is not None]
    return not numbers or numbers == list(range(numbers[0], numbers[0] + len(numbers)))
