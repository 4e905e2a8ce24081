"""English wording and plain spellings: accents, articles, numbers in words, and whether a question tells its answer."""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

# Letters that do not decompose into a plain letter and an accent; "ß" is two letters.
KEYBOARD = str.maketrans("øØłŁđʻ₀₁₂₃₄₅₆₇₈₉", "oOlLd'0123456789") | {ord("ß"): "ss"}


def plain(text: str) -> str:
    """The text without accents and other letters that a keyboard lacks."""
    text = text.translate(KEYBOARD)
    return "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))


def slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", plain(text).lower().replace("'", "")).strip("-")


def normalized(text: str) -> str:
    """Lower case, no punctuation, single spaces: for comparing questions and for finding answers in them."""
    return " ".join(re.sub(r"[^\w\s]", " ", plain(text).lower()).split())


def reveals(question: str, answers: Iterable[str]) -> bool:
    """Whether an accepted answer stands in the question as whole words."""
    words = f" {normalized(question)} "
    return any(f" {normalized(answer)} " in words for answer in answers)


def sentence(text: str) -> str:
    return text[0].upper() + text[1:]


def with_article(noun: str) -> str:
    return f"{'an' if noun[0] in 'aeiouAEIO' else 'a'} {noun}"


# fmt: off
ONES = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine",
    "ten", "eleven", "twelve", "thirteen", "fourteen", "fifteen",
    "sixteen", "seventeen", "eighteen", "nineteen",
)
# fmt: on
TENS = ("zero", "ten", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")


def number_words(n: int) -> str:
    """English words for 0 to 9999."""
    if n < 20:
        return ONES[n]
    if n < 100:
        return TENS[n // 10] + (f"-{ONES[n % 10]}" if n % 10 else "")
    size, name = (100, "hundred") if n < 1000 else (1000, "thousand")
    return f"{number_words(n // size)} {name}" + (f" {number_words(n % size)}" if n % size else "")


def number_forms(n: int) -> tuple[str, ...]:
    words = number_words(n)
    british = words.replace("hundred ", "hundred and ")
    return tuple(dict.fromkeys([str(n), f"{n:,}", words, words.replace("-", " "), british, british.replace("-", " ")]))


def ordinal(n: int) -> str:
    suffix = "th" if n % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(n % 10, "th")
    return f"{n}{suffix}"


def roman_numeral(n: int) -> str:
    parts = ((1000, "M"), (900, "CM"), (500, "D"), (400, "CD"), (100, "C"), (90, "XC"), (50, "L"), (40, "XL"))
    text = ""
    for value, letters in (*parts, (10, "X"), (9, "IX"), (5, "V"), (4, "IV"), (1, "I")):
        text += letters * (n // value)
        n %= value
    return text
