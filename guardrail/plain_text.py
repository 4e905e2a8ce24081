"""Text -> words in plain form, with their clauses: what graders compare. Knows nothing about answers or questions."""

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, replace

_LETTERS = str.maketrans({"ø": "o", "ł": "l", "đ": "d", "ð": "d", "æ": "ae", "œ": "oe", "þ": "th", "ı": "i"})
_MARKS = str.maketrans({"’": "'", "‘": "'", "ʼ": "'", "–": "-", "−": "-", "‐": "-", "‑": "-", "—": ","})


def words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


_UNITS = words(
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen"
)
_TENS = words("twenty thirty forty fifty sixty seventy eighty ninety")
_NUMBERS = {w: i for i, w in enumerate(_UNITS)} | {w: 10 * i for i, w in enumerate(_TENS, start=2)}
_TOKEN = re.compile(
    r"(?P<word>\d+(?:\.\d+)+|(?<![\w-])-\d+|[^\W_]+(?:[+#]+(?!\w))?|/)|(?P<mark>[,;:()\[\]])|(?P<glue>(?<=\w)-(?=\w))"
)


def normalise(text: str) -> str:
    """Words in plain form: NFKC, casefolded, without accents, punctuation and articles; numbers up to 100 as digits.

    An article at the end stays ("Vitamin A"), as do decimals, minus signs and the marks of "C++" and "C#".
    """
    return " ".join(t.text for t in tokens(text))


@dataclass(frozen=True, slots=True)
class Token:
    text: str  # normalised
    raw: str  # as written
    before: str  # "-" when glued to the previous token, the mark that opens a clause, or ""
    clause: int


def tokens(text: str) -> list[Token]:
    return _without_articles(_with_digits(list(_split(text))))


def _split(text: str) -> Iterator[Token]:
    text = unicodedata.normalize("NFKC", text).translate(_MARKS)
    text = "".join(c for c in text if unicodedata.category(c) != "Cf" and c not in '*_`"“”«»')
    text = re.sub(r"(?<=\w)'(?=\w)", "", text)  # it's, O'Brien
    text = re.sub(r"(?<=\d),(?=\d{3}(?!\d))", "", text)  # 1,000
    text = re.sub(
        r"\b(?:[^\W\d_]\.\s?){2,}(?=\W|$|[^\W\d_]{2})", lambda m: m[0].replace(".", "").replace(" ", "") + " ", text
    )
    text = text.replace("%", " percent ").replace("&", " and ")
    before, clause = "", 0
    for match in _TOKEN.finditer(text):
        raw = match[0]
        if match.lastgroup == "word":
            plain = unicodedata.normalize("NFKD", raw.casefold()).translate(_LETTERS)
            plain = "".join(c for c in plain if not unicodedata.combining(c))
            if plain == "but":
                clause += 1
            yield Token(plain, raw, before, clause)
            before = ""
        else:
            before = raw
            clause += match.lastgroup == "mark"


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
    return token.text.lstrip("-")[:1].isdigit()


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
