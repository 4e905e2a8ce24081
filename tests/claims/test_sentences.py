"""What of an answer is a claim: hard texts by hand, every word once by property, weird input, and the clock."""

from __future__ import annotations

import re
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guardrail.claims import SentenceClaims
from guardrail.claims.courtesies import is_courtesy, is_question
from guardrail.types import Claims
from tests.helpers.growth import superlinear


def taken(answer: str) -> list[str]:
    return [c.text for c in SentenceClaims().extract(answer).claims]


def left(answer: str) -> list[tuple[str, str]]:
    return [(a.reason, a.text) for a in SentenceClaims().extract(answer).asides]


PAGE = """Sure! Here are some facts about **Japan**:

# Japan #

**Overview**

- **Capital:** Tokyo. It is big.
- Currency: yen
  1. nested one
     goes on here
  2. [x] nested two
* ***Bold item.*** 🎉

Tokyo is the capital 🇯🇵. 😀 It has *14 million* people and Osaka has 3. Did you know?
Area: 377,975 km²
✅ Population: 125 million

> It is quoted and the line is long enough to have been wrapped by
> someone. **It is nice. Very.**

| Country | Capital |
|---|:--:|
| Japan | **Tokyo** |
| France | Paris |

```python
print("Hello. World.")
```

1868. Then Edo became Tokyo.

Cities:
2. Osaka
3. Kyoto
• Nara
(a) Kobe

[1]: https://example.com

I hope this helps! Let me know if you need more.
"""


def test_a_page():
    found = SentenceClaims().extract(PAGE)
    assert [(c.kind, c.text) for c in found.claims] == [
        ("item", "**Capital:** Tokyo."),
        ("item", "It is big."),
        ("item", "Currency: yen"),
        ("item", "nested one\n     goes on here"),
        ("item", "nested two"),
        ("item", "Bold item."),
        ("sentence", "Tokyo is the capital 🇯🇵."),
        ("sentence", "It has *14 million* people and Osaka has 3."),
        ("sentence", "Area: 377,975 km²"),
        ("sentence", "Population: 125 million"),
        ("sentence", "It is quoted and the line is long enough to have been wrapped by\n> someone."),
        ("sentence", "It is nice."),
        ("sentence", "Very."),
        ("row", "Japan | **Tokyo**"),
        ("row", "France | Paris"),
        ("sentence", "1868. Then Edo became Tokyo."),
        ("item", "Osaka"),
        ("item", "Kyoto"),
        ("item", "Nara"),
        ("item", "Kobe"),
    ]
    assert [(a.reason, a.text) for a in found.asides] == [
        ("greeting", "Sure!"),
        ("heading", "Here are some facts about **Japan**:"),
        ("heading", "Japan"),
        ("heading", "Overview"),
        ("question", "Did you know?"),
        ("heading", "Country | Capital"),
        ("code", '```python\nprint("Hello. World.")\n```'),
        ("heading", "Cities:"),
        ("fragment", "[1]: https://example.com"),
        ("greeting", "I hope this helps!"),
        ("greeting", "Let me know if you need more."),
    ]
    assert all(PAGE[x.start : x.end] == x.text for x in (*found.claims, *found.asides))


@pytest.mark.parametrize(
    "answer",  # | stands where one claim ends and the next begins
    [
        "Dr. Smith lives in Washington D.C. with his wife.| He was born in 1950.",
        "He moved to the U.S. in 1999.| She stayed.",
        "The value is 3.14 exactly.| It is irrational.",
        "J. R. R. Tolkien wrote it.| He was English.",
        'He said "I am here."| Then he left.',
        "It weighs approx. 5.5 kg (e.g. a cat).| It purrs...| Then it sleeps.",
        "See https://example.com/a.b?c=d for more.| It is good.",
        "The company Apple Inc. was founded in 1976.| It is large.",
        "She works at Yahoo! in California.| She likes it.",
        "The ratio – about 2.5 – is low — very low.| It fell.",
        "Beethoven composed Symphony No. 9 in 1824.| He was deaf.",
        "東京は日本の首都です。|人口は約1400万人です。",
        "القاهرة عاصمة مصر.| نعم هي كبيرة.",
        "दिल्ली भारत की राजधानी है।| यह बड़ी है।",
        "It has 5 parts.[2]| It works.",
        "A is X and B is Y; C is Z.",
        "It was built in est. 1500, in vol. 3 of ca. 20.| It stands.",
    ],
)
def test_where_sentences_end(answer):
    assert taken(answer.replace("|", "")) == [part.strip() for part in answer.split("|")]


@pytest.mark.parametrize(
    ("answer", "claims"),
    [
        (
            "**Tokyo** is big. **Osaka is small.** **It** is `a. B` here.",
            ["**Tokyo** is big.", "Osaka is small.", "**It** is `a. B` here."],
        ),
        ("first line\nSecond line\nThird line", ["first line", "Second line", "Third line"]),
        ("- a\n- b\n\n  c goes on\n  1. d\n     - e", ["a", "b", "c goes on", "d", "e"]),
        ("1. x\n2) y\n3. z", ["x", "y", "z"]),
        ("| a | b |\n| c | d |", ["a | b", "c | d"]),  # no line of dashes
        ("Tokyo", ["Tokyo"]),
        ("42.", ["42."]),
        ("**1066**", ["1066"]),
        ("`x`", ["x"]),
        ("Yes.", ["Yes."]),
        ("Sure, Tokyo is the capital.", ["Sure, Tokyo is the capital."]),
        ("1990. It was good.", ["1990. It was good."]),
        ("Capital: Tokyo\r\nCurrency: yen\r\n", ["Capital: Tokyo", "Currency: yen"]),
        ("🇯🇵 is Japan's flag.", ["🇯🇵 is Japan's flag."]),
        ("🎉 Tokyo! 😀😀", ["Tokyo!"]),
        ("Tokyo is the capital.\n---\nIt is big.", ["Tokyo is the capital.", "It is big."]),
        ("    It is indented.", ["It is indented."]),
        ("<b>Tokyo</b> is big.", ["<b>Tokyo</b> is big."]),
        ("", []),
        ("😀👍🏽", []),
        ("\n \n", []),
        ("- \n- ", []),
        ("---", []),
    ],
)
def test_what_claims_are(answer, claims):
    assert taken(answer) == claims


def test_what_is_no_claim():
    assert left("😀👍🏽") == [("fragment", "😀👍🏽")]
    assert left("Is it Tokyo?") == [("question", "Is it Tokyo?")]
    assert left("```\nx = 1") == [("code", "```\nx = 1")]
    assert left("**Tokyo**\n\nIt is big.") == [("heading", "Tokyo")]


def test_courtesies_and_questions():
    said = [
        "Sure!",
        "Of course.",
        "Hello there!",
        "You're welcome!",
        "Great question!",
        "I’d be happy to help with that.",
    ]
    said += ["I hope this helps!", "Feel free to ask.", "If you need more, please let me know.", "Have a great day!"]
    assert all(map(is_courtesy, said))
    claims = ["Sure, it is Tokyo.", "Great Britain is an island.", "Hello is a greeting.", "The hope is small.", "Yes."]
    assert not any(map(is_courtesy, claims))
    assert all(map(is_question, ["Ok?", "本当ですか？", "هل؟", '"Is it?"', "**Is it?**", "What?!"]))
    assert not any(map(is_question, ["Ok.", "It is one;", "Is it", "The sign ? means that."]))


PIECES = st.sampled_from(
    [
        "Tokyo",
        "is",
        "42",
        "a.b",
        "**",
        "_",
        "`",
        "```",
        "\n",
        "\n\n",
        "- ",
        "1. ",
        "7) ",
        "12. ",
        "# ",
        "> ",
        "|",
        "|---|",
        ":",
        ".",
        "? ",
        "Sure!",
        "😀",
        "東京。",
        "\r\n",
        "\0",
        "\ud800",
        "\u202e",
        "\u200b",
        "    ",
        "\t",
        "[x] ",
        "(a) ",
        "• ",
        "<br>",
        "é",
        "e\u0301",
        "](",
    ]
)
ANSWERS = st.lists(PIECES, max_size=40).map("".join) | st.lists(PIECES, max_size=40).map(" ".join) | st.text()
MARKER = re.compile(r"[\s>*+\-•|]*(?:\(?(?:\d{1,9}|[A-Za-z])[.)]\s+|\[[xX]\]\s+|[\s>*+\-•|])*")


@settings(max_examples=600, deadline=None)
@given(ANSWERS)
def test_every_word_is_in_one_claim_or_aside(answer):
    found: Claims = SentenceClaims().extract(answer)
    parts = sorted([*found.claims, *found.asides], key=lambda x: x.start)
    held: Counter[int] = Counter()
    for part in parts:
        assert part.text == answer[part.start : part.end] != ""
        assert part.text == part.text.strip()
        held.update(range(part.start, part.end))
    assert all(count == 1 for count in held.values())
    assert list(found.claims) == sorted(found.claims, key=lambda c: c.start)
    assert all(any(c.isalnum() for c in claim.text) for claim in found.claims)
    at = 0
    for line in re.split("(?<=[\n\r])", answer):
        marker = MARKER.match(line).end()  # the number or letter of an item belongs to none
        missing = [i for i in range(at + marker, at + len(line)) if answer[i].isalnum() and not held[i]]
        assert not missing, answer[missing[0] - 5 : missing[0] + 5]
        at += len(line)


@given(ANSWERS)
@settings(deadline=None)
def test_the_same_answer_gives_the_same_claims(answer):
    assert SentenceClaims().extract(answer) == SentenceClaims().extract(answer)


def test_what_is_nested_deeper_than_the_parser_goes_is_not_lost():
    assert taken(">" * 60 + " Tokyo is big.") == ["Tokyo is big."]
    assert taken("- " * 60 + "Tokyo is big.") == ["Tokyo is big."]


def test_a_sentence_longer_than_a_window_and_sentences_across_windows():
    words = "Tokyo is big. " * 600
    assert taken(words) == ["Tokyo is big."] * 600
    assert "".join(taken("word " * 3000)).count("word") == 3000


@pytest.mark.parametrize(
    "answer",
    [
        PAGE * 100,
        "Tokyo is big. " * 7200,
        "“" * 100_000,
        "- Tokyo is a big city\n" * 4600,
        "*" * 100_000,
        "a " * 50_000,
        "a\n" * 50_000,
        "(" * 100_000,
        "| a | b |\n" * 10_000,
        "`" * 100_000,
        "<a" * 50_000,
        "**a" * 33_000,
        "[x](" * 25_000,
        "😀" * 100_000,
    ],
    ids=[
        "page",
        "sentences",
        "quotes",
        "list",
        "stars",
        "words",
        "lines",
        "brackets",
        "rows",
        "ticks",
        "tags",
        "bold",
        "links",
        "emoji",
    ],
)
def test_a_hundred_thousand_characters_take_linear_time(answer):
    short, long = answer[:10_000], answer[:100_000]
    assert not superlinear(lambda: SentenceClaims().extract(short), lambda: SentenceClaims().extract(long), 10)
