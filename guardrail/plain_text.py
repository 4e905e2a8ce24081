"""Text -> words in plain form, with their clauses: what graders compare."""

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, replace

from guardrail.folding import folded, marks, points_agree, spelt_out

_SPOKEN = str.maketrans(
    {
        **dict.fromkeys("%٪", " percent "),
        **dict.fromkeys("‰؉", " permille "),
        **dict.fromkeys("‱؊", " permyriad "),
        "&": " and ",
    }
)
_MARKS = str.maketrans({"’": "'", "‘": "'", "ʼ": "'", "–": "-", "−": "-", "‐": "-", "‑": "-", "—": ","})


def words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


_UNITS = words(
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen"
)
_TENS = words("twenty thirty forty fifty sixty seventy eighty ninety")
_NUMBERS = {w: i for i, w in enumerate(_UNITS)} | {w: 10 * i for i, w in enumerate(_TENS, start=2)}
CURRENCIES = "".join(map(chr, (0x24, *range(0xA2, 0xA6), 0x9F2, 0x9F3, 0xE3F, 0x17DB, *range(0x20A0, 0x20C1), 0xFDFC)))
_NO_OTHER = "−∕∗∘∙⋅∶∣∴∵∼≃≅≈"  # what stands before the same number: bullets, "about", "so"
_SIGNS = f"{CURRENCIES}<>±¬{''.join(c for c in map(chr, range(0x2200, 0x2300)) if c not in _NO_OTHER)}"
_BEFORE = f"[{_SIGNS}]"
_VALUE = r"-?\d+(?:\.\d+)*"
_AFTER = rf"(?:[{marks()}]+|[\^↓][-+]?[^\W_]+[-+]?|′+|\s?[{CURRENCIES}]|\s?[+×÷±∓]\s?{_VALUE}|!++(?![\w=]))"
SIGNED = rf"(?:{_BEFORE}\s?){{1,4}}{_VALUE}{_AFTER}*|(?<![\w.-])-?\d+(?:\.\d+)*{_AFTER}+"
"""A number that its signs make another one: √2, ≠5, €5, 10^6, 5!, 7+2."""
_NUMBER = r"(?:(?<![\w-])-)?\d+(?:\.\d+)+|(?<![\w-])-\d+"
_WORD = rf"[^\W_][^\W_{marks()}]*(?:[{marks()}]+[^\W_]*)*(?:[+#♯♭♮′]+(?!\w))?(?:\^[-+]?\w+)?"
_REST = r"(?P<mark>[,;:()\[\]])|(?P<glue>(?<=\w)-(?=\w))"
_TOKEN = re.compile(rf"(?P<word>{_NUMBER}|{_WORD}|/)|{_REST}")
_SIGNED_TOKEN = re.compile(rf"(?P<signed>{SIGNED})|{_TOKEN.pattern}")
_LETTERS = re.compile(r"[^\W\d_]{2}")
_EXCLAMATION = re.compile(r"\s*$|\s+(?![a-z=])")


def normalise(text: str) -> str:
    """Words in plain form: NFKC, casefolded, without accents, punctuation and articles; numbers up to 100 as digits.

    An article at the end stays ("Vitamin A"), as do decimals, minus signs and the marks of "C++" and "C#". Of the signs of
    numbers only `tokens` knows.
    """
    return " ".join(t.text for t in _plain(_split(text, _TOKEN)))


@dataclass(frozen=True, slots=True)
class Token:
    text: str  # normalised
    raw: str  # as written
    before: str  # "-" when glued to the previous token, the mark that opens a clause, or ""
    clause: int
    exclaims: bool = False  # the "!" at the end of a number may be the sentence's and no factorial

    def is_said_by(self, said: "Token") -> bool:
        """Whether a token of an answer is this one of an accepted form: "It is 2!" says 2 as well as 2!, "2!" alone 2! only."""
        if said.text == self.text:
            return points_agree(said.raw, self.raw)
        return said.exclaims and said.text.rstrip("!") == self.text.rstrip("!") and said.text.startswith(self.text)


def tokens(text: str) -> list[Token]:
    """The words of a text, and its numbers with the signs that make them others: √2, ≠5, €5, 10^6, 5!, 7+2."""
    return _plain(_split(text, _SIGNED_TOKEN))


def _plain(split: Iterator[Token]) -> list[Token]:
    return _without_articles(_with_digits(list(split)))


def _split(text: str, pattern: re.Pattern[str]) -> Iterator[Token]:
    text = spelt_out(text).translate(_MARKS)
    text = re.sub(r"(?<=\d)\s?\*\*\s?(?=\d)", "^", text)
    text = re.sub(r"(?<=\d)\s?\*\s?(?=\d)", "×", text)
    text = "".join(c for c in text if unicodedata.category(c) != "Cf" and c not in '*_`"“”«»')
    text = re.sub(r"(?<=\w)'(?=\w)", "", text)  # it's, O'Brien
    text = re.sub(r"(?<=\d),(?=\d{3}(?!\d))", "", text)  # 1,000
    text = re.sub(
        r"(?<!\b[^\W\d_]\.)(?<!\b[^\W\d_]\.\s)\b(?:[^\W\d_]\.\s?){2,}(?=\W|$|[^\W\d_]{2})",
        lambda m: m[0].replace(".", "").replace(" ", "") + " ",
        text,
    )
    text = text.translate(_SPOKEN)
    text = re.sub(r"¬(?=\s?[^\W\d_])", " not ", text)  # of a number it is a sign
    text = re.sub(r"°\s?(?=[CFKcfk]\b)", " ", text)
    text = re.sub(r"(?<=\d)\s?°", " degrees ", text)
    text = re.sub(r"(?<![\w.])(-?)\.(?=\d)", r"\g<1>0.", text)  # .5
    before, clause = "", 0
    is_sentence = bool(_LETTERS.search(text))
    for match in pattern.finditer(text):
        raw = match[0]
        if match.lastgroup == "signed":
            exclaims = is_sentence and raw[-1] == "!" and bool(_EXCLAMATION.match(text, match.end()))
            yield Token(signed(raw), raw, before, clause, exclaims)
            before = ""
        elif match.lastgroup == "word":
            plain = folded(raw)
            if plain == "but":
                clause += 1
            yield Token(plain, raw, before, clause)
            before = ""
        else:
            before = raw
            clause += match.lastgroup == "mark"


def signed(raw: str) -> str:
    """A signed number in one form: "5 €" is "€5"."""
    text = "".join(folded(raw).split())
    bare = text.rstrip(CURRENCIES)
    return text[len(bare) :] + bare


def _with_digits(tokens: list[Token]) -> list[Token]:
    """Number words, zero to one hundred, as digits."""
    out: list[Token] = []
    for token in tokens:
        last = out[-1] if out else None
        adjoins = last is not None and last.clause == token.clause
        if last and adjoins and token.text in _UNITS[1:10] and last.raw.casefold() in _TENS:
            out[-1] = replace(last, text=str(int(last.text) + _NUMBERS[token.text]), raw=f"{last.raw} {token.raw}")
        elif token.text == "hundred" and last and adjoins and last.raw.casefold() in ("one", "a"):
            out[-1] = replace(last, text="100", raw="100")
        elif token.text == "hundred" and not (adjoins and last and is_number(last)):
            out.append(replace(token, text="100"))
        elif token.text in _NUMBERS:
            out.append(replace(token, text=str(_NUMBERS[token.text])))
        else:
            out.append(token)
    return out


def _without_articles(tokens: list[Token]) -> list[Token]:
    # "A" inside a text is a letter (blood type A positive), and so is an article with nothing after it (vitamin A)
    return [
        t
        for i, t in enumerate(tokens)
        if i == len(tokens) - 1 or not (t.raw in ("a", "an", "the", "An", "The", "THE") or (t.raw == "A" and i == 0))
    ]


def is_number(token: Token) -> bool:
    return token.text.lstrip("-" + _SIGNS)[:1].isdigit()


def says_something(answer: str) -> bool:
    """Whether there is a letter or a digit, as written and in plain form: not "", " ", "?!", "**", "%"."""
    return any(map(str.isalnum, answer)) and any(map(str.isalnum, normalise(answer)))


_BLANKS = frozenset("\u2800\u3164\u115f\u1160\uffa0")  # letters and symbols to Unicode, nothing to the eye
_EDGES = "\u200b\u2060\ufeff"


def is_blank(text: str) -> bool:
    """Whether nothing of a text can be seen: white space, control and format characters, marks without a letter.

    >>> is_blank("\\u200b\\n"), is_blank("42")
    (True, False)
    """
    return all(c in _BLANKS or c.isspace() or unicodedata.category(c) in _UNSEEN for c in text)


_UNSEEN = ("Cc", "Cf", "Cn", "Mn", "Me", "Zs", "Zl", "Zp")


def trimmed(text: str) -> str:
    """A text without outer white space, control characters and zero-width spaces."""
    seen = [i for i, c in enumerate(text) if not (c in _EDGES or c.isspace() or unicodedata.category(c) == "Cc")]
    return text[seen[0] : seen[-1] + 1] if seen else ""
