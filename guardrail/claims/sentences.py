"""Answer -> claims: each sentence, list item and table row is one.

Sentences by sentencex (Wikimedia; compiled, no model to fetch): it was right on most of 49 hard texts (abbreviations,
initials, decimals, URLs, quotations, scripts without spaces: sentencex 43, pysbd 39, nupunkt 37, syntok 37), gives offsets in
characters, and takes 4 ms for 60,000 of them (pysbd, which is not maintained: 1,300 ms).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping
from typing import Any

from sentencex import get_sentence_boundaries

from guardrail.claims.courtesies import is_courtesy, is_question
from guardrail.claims.markdown import Part, PartKind, Span, encodable, parse
from guardrail.claims.quotations import around_quotations
from guardrail.types import Aside, AsideReason, Claim, Claims

_WINDOW = 4000  # characters: sentencex is quadratic in the number of quotation marks; no sentence is longer

_CODE = re.compile(r"(?<!`)(`+)(?!`)(.{1,500}?)(?<!`)\1(?!`)")
_TARGET = re.compile(r"(?<=\])\([^()\s]{1,500}\)")
_MARKS = re.compile(r"\*+|~~|(?<!\w)_+|(?<!_)_+(?!\w)|</?[A-Za-z][^<>]{0,200}>")
_DEFINITION = re.compile(r"\[[^\]\n]{1,100}\]:\s*\S+\s*$")
_BOLD = re.compile(r"\s*(\*\*|__)(?:(?!\1).)+\1\s*$", re.DOTALL)
_EMPHASIS = re.compile(r"\*+|_+|~~|`+")
_INVISIBLE = frozenset("\u200b\ufeff\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\ufffd")
_ENDS = frozenset(".!?。！？।؟…۔:;)\"'”’»*_")
_BEFORE_A_NUMBER = re.compile(r"\b(?:approx|ca|est|vols?|ch|eq|avg)\.\s*$", re.IGNORECASE)
_OPENING = re.compile(r"(?<=\s)[*_~`]+$")
_NUMBER = re.compile(r"\s*\(?\d{1,2}[.)]\s*$")


class SentenceClaims:
    """The default extractor: no model, the same claims for the same text.

        claims = SentenceClaims().extract("Sure! Tokyo is the capital of Japan. It has 14 million people.")
        [c.text for c in claims.claims]   # ['Tokyo is the capital of Japan.', 'It has 14 million people.']
        [a.reason for a in claims.asides] # ['greeting']

    Clauses of one sentence stay together. A table's first row, and text that ends with a colon, are headings.

    Args:
        language: ISO 639 code of the language whose abbreviations are known. One that sentencex does not know is treated
            as English.
    """

    name = "sentences"

    def __init__(self, language: str = "en") -> None:
        self.language = language

    @property
    def options(self) -> Mapping[str, Any]:
        """What changes where claims begin and end, JSON-ready."""
        return {"language": self.language}

    def extract(self, answer: str, *, question: str = "") -> Claims:
        """The claims of an answer, and what of it claims nothing.

        Args:
            answer: Any string; none is refused.
            question: Part of the protocol; not used.

        Returns:
            Claims and asides, each at its exact place, in the order of the text. Every letter and digit lies in one of
            them, or in the mark of a list item.
        """
        claims: list[Claim] = []
        asides: list[Aside] = []
        text, parts = encodable(answer), parse(answer).parts()
        for i, part in enumerate(parts):
            for start, end, what in self._cut(text, part, last=i == len(parts) - 1):
                if what == "sentence" or what == "item" or what == "row":
                    claims.append(Claim(answer[start:end], start, end, what))
                else:
                    asides.append(Aside(answer[start:end], start, end, what))
        return Claims(tuple(claims), tuple(asides))

    def _cut(self, text: str, part: Part, *, last: bool) -> Iterator[tuple[int, int, PartKind | AsideReason]]:
        start, end = part.start, part.end
        if part.kind == "code":
            yield start, end, "code"
            return
        if part.kind in ("heading", "row"):
            start, end = _trimmed(text, start, end, edges="|")
            if start < end:
                yield start, end, part.kind if part.kind == "heading" or _has_words(text[start:end]) else "fragment"
            return
        if _BOLD.match(text[start:end]) and part.kind == "sentence" and not last:
            start, end = _trimmed(text, start, end)
            if not text[start:end].rstrip("*_").endswith((".", "!", "?")):
                yield start, end, "heading"
                return
        for start, end in self._sentences(text, part):
            start, end = _trimmed(text, start, end)
            if start < end:
                yield start, end, _reason(text[start:end]) or part.kind

    def _sentences(self, text: str, part: Part) -> list[Span]:
        """The sentences of a part; a number is no sentence but belongs to the next one, or the one before it."""
        masked = _masked(text[part.start : part.end], [(a - part.start, b - part.start) for a, b in part.hidden])
        found: list[Span] = []
        start = seen = 0
        has_letters = False  # whether `masked[start:end]` has any
        for end in around_quotations(masked, self._ends(masked)):
            opening = _OPENING.search(text, part.start + max(start, end - 8), part.start + end)
            if opening and end < len(masked):
                end -= len(opening[0])  # it opens the next sentence
            has_letters = has_letters or any(c.isalpha() for c in masked[seen:end])
            seen = end
            numbered = _NUMBER.match(masked, start, end) or not found
            if end < len(masked) and (
                (not has_letters and numbered)
                or self._goes_on(masked[max(start, end - 12) : end], masked[end : end + 1])
            ):
                continue
            if has_letters or numbered:
                found.append((start, end))
            else:
                found[-1] = (found[-1][0], end)
            start, has_letters = end, False
        return [(part.start + start, part.start + end) for start, end in found]

    @staticmethod
    def _goes_on(part: str, following: str) -> bool:
        return following.isdigit() and bool(_BEFORE_A_NUMBER.search(part))

    def _ends(self, masked: str) -> Iterator[int]:
        """Where sentences end; the last end is the text's."""
        at = 0
        while at < len(masked):
            window = masked[at : at + _WINDOW]
            ends = _boundaries(self.language, window)
            if at + len(window) < len(masked) and len(ends) > 1:
                ends.pop()  # it may lie beyond the window
            yield from (at + end for end in ends)
            at += ends[-1] if ends else len(window)


def _masked(text: str, hidden: list[Span]) -> str:
    """Text of the same length in which marks cannot hide or fake the end of a sentence."""
    pieces, at = [], 0
    for start, end in hidden:
        pieces += [text[at:start], " " * (end - start)]
        at = end
    text = "".join([*pieces, text[at:]])
    text = re.sub(r"[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]", " ", text)
    text = _CODE.sub(lambda m: " " * len(m[1]) + "x" * len(m[2]) + " " * len(m[1]), text)
    text = _TARGET.sub(lambda m: "x" * len(m[0]), text)
    return _MARKS.sub(lambda m: " " * len(m[0]), text)


def _reason(sentence: str) -> AsideReason | None:
    if not _has_words(sentence) or _DEFINITION.match(sentence):
        return "fragment"
    if is_question(sentence):
        return "question"
    if sentence.rstrip("*_ ").endswith((":", "：")):
        return "heading"
    return "greeting" if is_courtesy(sentence) else None


def _has_words(text: str) -> bool:
    return any(c.isalnum() for c in _MARKS.sub(" ", text))


def _trimmed(text: str, start: int, end: int, *, edges: str = "") -> Span:
    """The span without white space, invisible characters, marks whose partner lies outside, and pictures between sentences."""
    before = (-1, -1)
    while before != (start, end) and start < end:
        before = start, end
        while start < end and _droppable(text[start], edges):
            start += 1
        while start < end and _droppable(text[end - 1], edges):
            end -= 1
        start, end = _without_marks(text, start, end)
        start, end = _without_pictures(text, start, end)
    return start, end


def _droppable(char: str, edges: str) -> bool:
    return char.isspace() or char in edges or char in _INVISIBLE or unicodedata.category(char) in ("Cc", "Cs")


def _without_marks(text: str, start: int, end: int) -> Span:
    if opening := _EMPHASIS.match(text, start, end):
        mark = opening[0]
        rest = text[start + len(mark) : end]
        if mark not in rest:
            start += len(mark)
        elif rest.endswith(mark) and rest.count(mark) == 1:
            start, end = start + len(mark), end - len(mark)
    tail = re.search(r"(?:(?<!\*)\*+|(?<!_)_+|~~|(?<!`)`+)$", text[max(start, end - 8) : end])
    if tail and tail[0] not in text[start : end - len(tail[0])]:
        end -= len(tail[0])
    return start, end


def _without_pictures(text: str, start: int, end: int) -> Span:
    at = start
    while at < end and _is_picture(text[at]):
        at += 1
    if start < at < end and text[at].isspace() and not text[at:end].lstrip()[:1].islower():
        start = at
    at = end
    while at > start and (_is_picture(text[at - 1]) or text[at - 1].isspace()):
        at -= 1
    if start < at < end and text[at - 1] in _ENDS:
        end = at
    return start, end


def _is_picture(char: str) -> bool:
    """Emoji and other symbols, with what joins and colours them."""
    return unicodedata.category(char) == "So" or char in "\u200d\ufe0f\ufe0e" or "\U0001f3fb" <= char <= "\U0001f3ff"


def _boundaries(language: str, text: str) -> list[int]:
    """Where sentencex ends sentences. It panics at some spaces of several bytes before a full stop: plain ones take their place
    then, one for one."""
    try:
        return [b["end_index"] for b in get_sentence_boundaries(language, text)]
    except BaseException as error:  # a panic is no Exception
        plain = "".join(" " if c.isspace() and ord(c) > 127 else c for c in text)
        if type(error).__name__ != "PanicException" or plain == text:
            raise
        return _boundaries(language, plain)
