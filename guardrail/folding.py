"""Characters -> those that are compared: digits of every script as 0 to 9, marks kept where they make another word.

An accent on a Latin or Greek letter, a Hebrew or Arabic vowel point, and the stress on a Cyrillic vowel may be left out in
writing, so they are dropped; `points_agree` compares points where two words both have them. Everywhere else (Indic vowel
signs, Thai tones, Japanese sound marks, the breve of й, a bar through a letter, a line over a digit) a mark makes another
word or number, so it stays.
"""

import re
import unicodedata
from functools import cache
from typing import Literal

_LETTERS = str.maketrans({"ø": "o", "ł": "l", "đ": "d", "ð": "d", "æ": "ae", "œ": "oe", "þ": "th", "ı": "i"})
_CYRILLIC_VOWELS = frozenset("аеиоуыэюяієї")
_STRESS = ("\u0300", "\u0301")
_DIAERESIS = "\u0308"
_ARABIC_POINTS = frozenset(map(chr, (*range(0x064B, 0x0653), 0x0670, *range(0x06D6, 0x06EE))))
_VOWELS = frozenset((*range(10, 21), *range(27, 33), 34))  # combining classes of Hebrew and Arabic points
_DOUBLING = frozenset((21, 33))  # dagesh, shadda
_DOTS = frozenset((24, 25))  # of shin and sin
_NEVER = frozenset(map(chr, (0x034F, 0x20E3, *range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0))))  # they choose a glyph
_MOST_MARKS = 30  # no word of any script has more in a row; `unicodedata.normalize` takes quadratic time for those
_JOINER = "\u034f"  # marks do not move over it
_OVERLAY = 1  # the combining class of bars and slashes through a letter

_LETTER_POWERS = {"ⁿ": "n", "ⁱ": "i", "ˣ": "x", "ʸ": "y", "ᵏ": "k", "ᵐ": "m"}
_POWER = {"⁺": "+", "⁻": "-"} | {c: str(i) for i, c in enumerate("⁰¹²³⁴⁵⁶⁷⁸⁹")} | _LETTER_POWERS
_POWERS = re.compile(f"(?<=[^\\W_])[{''.join(_POWER)}]*[⁰¹²³⁴-⁹{''.join(_LETTER_POWERS)}][{''.join(_POWER)}]*")
_BASES = re.compile("(?<=\\d)[₀-₉]+")
_OWN = "¼-¾⅐-⅟↉①-⒛⓪-⓿❶-➓㉈-㉏㉑-㉟㊱-㊿"  # ½, ①, ⒈: numbers of their own
_BESIDE = re.compile(f"(?<=[^\\W_])(?=[{_OWN}])|(?<=[{_OWN}])(?=[^\\W_])")
_BLANK_SEPARATORS = re.compile(r"(?<=\d)[\u00a0\u2007\u2009\u202f](?=\d{3}(?!\d))")
_INDIAN_SEPARATORS = re.compile(r"(?<![\d,.])\d{1,2}(?:,\d{2})+,\d{3}(?![\d,])")
_SEPARATORS = str.maketrans({"٫": ".", "٬": ",", "⁄": "/", "∕": "/", "−": "-", "™": " ", "℠": " ", "®": " ", "©": " "})


@cache
def marks() -> str:
    """Every character that stands on, below, around or beside another one, for a class of a regular expression."""
    found = [i for i in range(0x300, 0x20000) if unicodedata.category(chr(i))[0] == "M"]
    ranges: list[list[int]] = []
    for i in found:
        if ranges and ranges[-1][1] == i - 1:
            ranges[-1][1] = i
        else:
            ranges.append([i, i])
    return "".join(f"{chr(first)}-{chr(last)}" if first < last else chr(first) for first, last in ranges)


@cache
def _long_runs() -> re.Pattern[str]:
    return re.compile(f"[{marks()}]{{{_MOST_MARKS}}}(?=[{marks()}])")


def normalised(form: Literal["NFKC", "NFKD"], text: str) -> str:
    """A text in a normal form of Unicode, in linear time: marks are put in order among 30 at a time, as UAX #15 has it."""
    if len(text) > _MOST_MARKS:
        text = _long_runs().sub(rf"\g<0>{_JOINER}", text)
    return unicodedata.normalize(form, text).replace(_JOINER, "")


def spelt_out(text: str) -> str:
    """NFKC that keeps what a number is: 10⁶ is `10^6` and not 106, 1½ is `1 1/2`, 10₂ is `10↓2`, ٥ is 5; H₂O is `H2O`."""
    text = _BLANK_SEPARATORS.sub("", text)
    text = _POWERS.sub(lambda m: "^" + "".join(_POWER[c] for c in m[0]), text)
    text = _BASES.sub(lambda m: "↓" + unicodedata.normalize("NFKC", m[0]), text)
    text = _BESIDE.sub(" ", text)
    text = normalised("NFKC", text).translate(_SEPARATORS)
    text = "".join(str(unicodedata.decimal(c)) if c.isdecimal() else c for c in text)
    return _INDIAN_SEPARATORS.sub(lambda m: m[0].replace(",", ""), text)


def folded(word: str) -> str:
    """A word in plain form: no case, and no mark that may be left out."""
    out: list[str] = []
    base = ""
    for c in normalised("NFKD", word.casefold()):
        if unicodedata.category(c)[0] != "M":
            base = c
        elif _may_be_left_out(c, base):
            continue
        out.append(c)
    return normalised("NFKC", "".join(out).translate(_LETTERS))


def points_agree(one: str, two: str) -> bool:
    """Whether two words of the same Hebrew or Arabic letters may be one: where both write a letter's vowel it is the same, and
    the letter is doubled in both or in neither; where both write the dot of shin or sin it is the same.

    >>> points_agree("حَمَام", "حَمَّام"), points_agree("حمام", "حَمَّام")
    (False, True)
    """
    for a, b in zip(_points(one), _points(two), strict=False):
        if a == b or not (a and b):
            continue
        if a & _DOTS and b & _DOTS and a & _DOTS != b & _DOTS:
            return False
        if a & _VOWELS and b & _VOWELS and (a & _VOWELS != b & _VOWELS or a & _DOUBLING != b & _DOUBLING):
            return False
    return True


def is_point(mark: str) -> bool:
    """Whether a character is a point of Hebrew or Arabic, such as a vowel."""
    return mark in _ARABIC_POINTS or "\u05b0" <= mark <= "\u05c7"


def _points(word: str) -> list[set[int]]:
    """The combining classes of the marks on each letter."""
    out: list[set[int]] = []
    for c in normalised("NFKD", word):
        if not (combining := unicodedata.combining(c)):
            out.append(set())
        elif out and is_point(c):
            out[-1].add(combining)
    return out


def _may_be_left_out(mark: str, base: str) -> bool:
    if mark in _NEVER:
        return True
    script = unicodedata.name(base, "").split(" ")[0] if base else ""
    combining = unicodedata.combining(mark)
    match script:
        case "LATIN" | "GREEK":
            return combining not in (0, _OVERLAY)
        case "CYRILLIC":
            return (mark in _STRESS and base in _CYRILLIC_VOWELS) or (mark == _DIAERESIS and base == "е")
        case "HEBREW":
            return combining != 0
        case "ARABIC":
            return mark in _ARABIC_POINTS
    return False
