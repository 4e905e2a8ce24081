"""Answers as models write them, with some claims hedged and some dropped: the exact text that is left."""

from __future__ import annotations

import pytest

from guardrail.actions import rewrite
from guardrail.types import Confidence
from tests.helpers.marked_claims import judged, marked

MEDIUM = "(unsure, 41% chance of being right)"

EXAMPLES = {
    "a sentence in the middle": (
        "‹keep Paris is the capital.› ‹drop It has 9 million people.› ‹keep It lies on the Seine.›",
        "Paris is the capital. It lies on the Seine.",
    ),
    "the first sentence, and the connective after it": (
        "‹drop Lyon is the capital.› ‹keep However, Paris is larger.›",
        "Paris is larger.",
    ),
    "and, also": (
        "‹drop A river crosses it.› ‹keep And it also has two hills.› ‹keep However, they are low.›",
        "It has two hills. However, they are low.",
    ),
    "a connective in the next paragraph": (
        "‹keep Paris is large.› ‹drop It is old.›\n\n‹keep Moreover, it is flat.›",
        "Paris is large.\n\nIt is flat.",
    ),
    "a name that is spelt with a small letter": (
        "‹drop Nokia led.› ‹keep However, iPhone sales grew.›",
        "iPhone sales grew.",
    ),
    "the last sentence of a paragraph": (
        "‹keep Paris is large.› ‹drop It is old.›\n\n‹keep Lyon is smaller.›\n",
        "Paris is large.\n\nLyon is smaller.\n",
    ),
    "a paragraph": (
        "‹keep One.›\n\n‹drop Two.› ‹drop Three.›\n\n‹keep Four.›",
        "One.\n\nFour.",
    ),
    "lines without punctuation": (
        "‹keep Capital: Paris›\n‹drop Population: 9 million›\n‹keep River: Seine›",
        "Capital: Paris\nRiver: Seine",
    ),
    "clauses of one sentence": (
        "‹keep Paris is the capital›, ‹drop Lyon is the second city›, and ‹keep Nice is on the coast›.",
        "Paris is the capital, and Nice is on the coast.",
    ),
    "the first clause": (
        "‹keep France is old.› ‹drop its capital is Lyon›, and ‹keep its largest city is Paris.›",
        "France is old. Its largest city is Paris.",
    ),
    "the last clause": (
        "‹keep Paris is the capital›, but ‹drop Lyon is larger.› ‹keep Both lie on rivers.›",
        "Paris is the capital. Both lie on rivers.",
    ),
    "an ordered list": (
        "«fragment The largest cities are:»\n\n1. ‹keep Paris›\n2. ‹drop Rome›\n3. ‹keep Lyon›\n4. ‹hedge41 Nice›\n",
        f"The largest cities are:\n\n1. Paris\n2. Lyon\n3. Nice {MEDIUM}\n",
    ),
    "a list and its introduction": (
        "‹keep France is in Europe.›\n\n«fragment The main cities are:»\n\n- ‹drop Rome›\n- ‹drop Oslo›\n\n"
        "‹keep It is large.›",
        "France is in Europe.\n\nIt is large.",
    ),
    "an introduction at the end of a paragraph": (
        "‹keep France is in Europe.› «fragment Its main cities are:»\n- ‹drop Rome›\n- ‹drop Oslo›",
        "France is in Europe.",
    ),
    "an introduction that says something itself": (
        "‹keep Paris has three old parts:›\n\n- ‹drop the city›\n- ‹drop the port›",
        "Paris has three old parts.",
    ),
    "a list and a line after it without a gap": (
        "«fragment Cities:»\n1. ‹drop Rome is in France.›\n2. ‹drop Oslo is in France.›\n"
        "‹keep Overall, France has many cities.›",
        "Overall, France has many cities.",
    ),
    "labels in bold": (
        "- **Capital:** ‹keep Paris is the capital.›\n- **Size:** ‹drop It has 9 million people.›\n"
        "- **River:** ‹hedge41 The Seine.›",
        f"- **Capital:** Paris is the capital.\n- **River:** The Seine {MEDIUM}.",
    ),
    "an item of two sentences": (
        "1. ‹keep Paris is the capital.› ‹drop It is small.›\n2. ‹drop Rome is not.› ‹keep It is also in Italy.›",
        "1. Paris is the capital.\n2. It is in Italy.",
    ),
    "a sublist whose item went": (
        "- ‹drop France is an island.›\n  - ‹keep Paris is its capital.›\n  - ‹drop Rome too.›\n- ‹keep Spain is not.›",
        "- Paris is its capital.\n- Spain is not.",
    ),
    "an item that keeps its sublist's label": (
        "- «fragment Cities:»\n  1. ‹drop Rome›\n  2. ‹keep Paris›\n- «fragment Rivers:»\n  1. ‹drop Tiber›",
        "- Cities:\n  1. Paris",
    ),
    "an item's second paragraph": (
        "1. ‹drop Rome is in France.›\n\n   ‹keep Paris is.›\n2. ‹keep Lyon is.›",
        "1. Paris is.\n2. Lyon is.",
    ),
    "an ordered sublist whose item went": (
        "1. ‹drop France is an island.›\n   1. ‹keep Paris is its capital.›\n   2. ‹keep Lyon is large.›\n"
        "2. ‹keep Spain is not.›",
        "1. Paris is its capital.\n2. Lyon is large.\n3. Spain is not.",
    ),
    "two lists that become one": (
        "1. ‹keep One.›\n\n‹drop Between.›\n\n1. ‹keep Two.›\n\n‹keep After.›\n\n1. ‹keep Three.›",
        "1. One.\n\n2. Two.\n\nAfter.\n\n1. Three.",
    ),
    "numbers that are all one": (
        "1. ‹keep One.›\n1. ‹drop Two.›\n1. ‹keep Three.›",
        "1. One.\n1. Three.",
    ),
    "numbers of two digits": (
        "9. ‹drop Nine›\n10. ‹keep Ten›\n    - ‹keep ten and a half›\n11. ‹keep Eleven›",
        "9. Ten\n   - ten and a half\n10. Eleven",
    ),
    "a heading with nothing left below it": (
        "# «heading France»\n\n‹keep Paris is the capital.›\n\n## «heading Size»\n\n‹drop It is tiny.›\n\n"
        "## «heading Rivers»\n\n‹keep The Seine.›",
        "# France\n\nParis is the capital.\n\n## Rivers\n\nThe Seine.",
    ),
    "a title in bold": (
        "**Size**\n\n‹drop It has 9 people.›\n\n**Rivers**\n‹keep The Seine.›",
        "**Rivers**\nThe Seine.",
    ),
    "a row of a table": (
        "«fragment The cities:»\n\n| City | People |\n| --- | --- |\n"
        "| ‹keep/row Paris | 2 million› |\n| ‹drop/row Rome | 3 million› |\n"
        "| ‹hedge41/row Lyon | 500,000› |\n\n‹keep All are old.›",
        f"The cities:\n\n| City | People |\n| --- | --- |\n| Paris | 2 million |\n| Lyon | 500,000 {MEDIUM} |\n\nAll are old.",
    ),
    "a table with no row left": (
        "«fragment The cities:»\n\n| City | People |\n|---|---|\n‹drop/row | Rome | 3 million |›\n\n"
        "‹keep All are old.›",
        "All are old.",
    ),
    "code stays beside what stays": (
        "‹drop It is fast.› ‹keep Sorting takes a list.›\n\n```py\nsorted([2, 1])\n```\n\n‹drop It is stable.›",
        "Sorting takes a list.\n\n```py\nsorted([2, 1])\n```",
    ),
    "code goes with all that was said about it": (
        "‹keep Lists sort.›\n\n## «heading Sets»\n\n‹drop Sets sort too.› «fragment Run this:»\n\n```py\n"
        "{2, 1}.sort()\n```",
        "Lists sort.",
    ),
    "a hedge before the full stop": (
        "‹hedge41 Paris has 2 million people.› ‹hedge10 It is **old**›\n‹hedge90 **It is flat.**› ‹hedge70 Is it?›",
        f"Paris has 2 million people {MEDIUM}. It is **old** (very likely wrong, 10% chance of being right)\n"
        "**It is flat (very likely, 90% chance of being right).** Is it (probably, 70% chance of being right)?",
    ),
    "emphasis around a claim": (
        "**‹drop Paris is small.›** ‹keep It is old.› «question Shall I go on?»",
        "It is old. Shall I go on?",
    ),
    "a quotation": (
        "> ‹keep Paris is old.›\n> ‹drop It is small.›\n> ‹keep It is flat.›\n\n> ‹drop Gone.›\n\n"
        "‹keep So it was said.›",
        "> Paris is old.\n> It is flat.\n\nIt was said.",
    ),
    "bullets that are not Markdown": (
        "«fragment Cities:»\n• ‹keep Paris›\n• ‹drop Rome›\n• ‹keep Lyon›",
        "Cities:\n• Paris\n• Lyon",
    ),
    "references after a claim": (
        "‹keep Paris is old.›[1] ‹drop It is small.›[2] ‹keep It is flat.›[3]",
        "Paris is old.[1] It is flat.[3]",
    ),
    "two facts of one sentence": (
        "‹keep/atomic Paris is the capital› and ‹drop/atomic has 9 million people›. ‹keep It also has a river.›",
        "It has a river.",
    ),
    "rules between sections": (
        "‹keep One.›\n\n---\n\n‹drop Two.›\n\n---\n\n‹keep Three.›",
        "One.\n\n---\n\nThree.",
    ),
    "Windows line ends": (
        "‹keep One.›\r\n\r\n- ‹drop a›\r\n- ‹keep b›\r\n\r\n‹drop Two.›\r\n",
        "One.\r\n\r\n- b\r\n",
    ),
    "no spaces between sentences": (
        "‹keep 巴黎是首都。›‹drop 它有九百万人。›‹keep 它在塞纳河上。›",
        "巴黎是首都。它在塞纳河上。",
    ),
    "emoji": (
        "‹drop Paris is small 🏙️.› ‹keep But it is 👩‍👩‍👧 friendly 🎉›",
        "It is 👩‍👩‍👧 friendly 🎉",
    ),
}


@pytest.mark.parametrize("name", EXAMPLES)
def test_example(name: str) -> None:
    text, expected = EXAMPLES[name]
    out = rewrite(*marked(text))
    assert out.text == expected
    assert not out.empty
    for claim, span in zip(out.claims, out.spans, strict=True):
        assert claim.shown == (out.text[slice(*span)] if span else "")


@pytest.mark.parametrize("name", EXAMPLES)
def test_keeping_every_claim_changes_no_byte(name: str) -> None:
    text = EXAMPLES[name][0]
    for action in ("drop", "hedge41", "hedge10", "hedge90", "hedge70"):
        text = text.replace(f"‹{action}", "‹keep")
    answer, claims, asides = marked(text)
    out = rewrite(answer, claims, asides)
    assert out.text == answer
    assert [c.shown for c in out.claims] == [c.text for c in claims]
    assert out.spans == tuple((c.claim.start, c.claim.end) for c in claims)


@pytest.mark.parametrize("name", EXAMPLES)
def test_dropping_every_claim_leaves_nothing(name: str) -> None:
    text = EXAMPLES[name][0]
    for action in ("keep", "hedge41", "hedge10", "hedge90", "hedge70"):
        text = text.replace(f"‹{action}", "‹drop")
    out = rewrite(*marked(text))
    assert (out.empty, out.text, set(out.spans)) == (True, "", {None})
    assert {c.shown for c in out.claims} == {""}


def test_an_answer_without_claims_is_as_it_was() -> None:
    for answer in ("", "  \n", "Hello! How can I help?", "```\ncode\n```\n", "# Only\n\n- a\n"):
        out = rewrite(answer, [])
        assert (out.text, out.claims, out.empty) == (answer, (), False)


def test_the_strictest_action_wins_where_claims_share_characters() -> None:
    answer = "Paris, an old city, is the capital. It is flat."
    whole = judged(answer, 0, 35, "hedge", 0.3)
    part, rest = judged(answer, 7, 18, "keep"), judged(answer, 36, 47, "keep")
    out = rewrite(answer, [whole, part, rest])
    first = "Paris, an old city, is the capital (doubtful, 30% chance of being right)."
    assert out.text == f"{first} It is flat."
    assert [c.shown for c in out.claims] == [first, first, "It is flat."]
    assert rewrite(answer, [whole, judged(answer, 7, 18, "drop"), rest]).text == "It is flat."


def test_the_weakest_of_the_hedged_claims_is_the_one_named() -> None:
    answer = "Paris is the old capital."
    out = rewrite(answer, [judged(answer, 0, 25, "hedge", 0.9), judged(answer, 9, 16, "hedge", 0.45)])
    assert out.text == "Paris is the old capital (unsure, 45% chance of being right)."


def test_a_claim_over_two_blocks_goes_from_both() -> None:
    answer = "The capital is:\n\n- Rome\n- old\n\nFrance is large."
    out = rewrite(answer, [judged(answer, 0, 23, "drop", kind="atomic"), judged(answer, 31, 47, "keep")])
    assert out.text == "- old\n\nFrance is large."


@pytest.mark.parametrize("p", [None, float("nan")])
def test_a_hedge_without_a_confidence_says_so(p: float | None) -> None:
    answer = "Paris is old."
    claim = judged(answer, 0, 13, "hedge", None)
    broken = [type(claim)(claim.claim, 0, 1, claim.score, Confidence(p, None, None, "very high"), claim.decision)]
    expected = "Paris is old (how likely this is to be right is unknown)."
    assert rewrite(answer, broken).text == expected


@pytest.mark.parametrize(
    ("say", "expected"),
    [
        ("{answer} ({label}?)", "Paris is old (medium?). | a | b (medium?) |"),
        ("possibly: {answer}", "possibly: Paris is old. | possibly: a | b |"),
        ("{answer} -- {explanation}.", "Paris is old -- because. | a | b -- because. |"),
        ("{answer} | {confidence}", "Paris is old | 41%. | a | b \\| 41% |"),
    ],
)
def test_the_wording_of_a_policy(say: str, expected: str) -> None:
    sentence, row = "Paris is old.", "| x | y |\n|---|---|\n| a | b |"
    at = len(row) - 9
    first = rewrite(sentence, [judged(sentence, 0, 13, "hedge", say=say)]).text
    second = rewrite(row, [judged(row, at, len(row), "hedge", kind="row", say=say)]).text.splitlines()[-1]
    assert f"{first} {second}" == expected


def test_what_cannot_be_rewritten_is_refused() -> None:
    answer = "Paris is old."
    with pytest.raises(ValueError, match="'retrieve'; decide again before rewriting"):
        rewrite(answer, [judged(answer, 0, 13, "retrieve")])
    with pytest.raises(ValueError, match="is not in the answer: characters 9 to 99"):
        rewrite(answer, [judged(answer, 9, 99, "keep")])
    with pytest.raises(ValueError, match="stands in no block"):
        rewrite("Paris.\n\n\n", [judged("Paris.\n\n\n", 7, 9, "keep")])
