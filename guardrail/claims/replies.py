"""What a model wrote as a list of facts -> facts, and where in the answer each comes from.

A fact's place is where its quotation stands in the answer: word for word, or else the most similar part of one sentence, at
least `threshold` of 100 similar (rapidfuzz's partial ratio). A fact with a number that neither answer nor question has is the
model's own, and has no place.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError, field_validator
from rapidfuzz import fuzz

from guardrail.json_text import parse_at

Span = tuple[int, int]

_SPACE_OR_MARK = r"[\s*_`]+"
_NUMBERS = re.compile(r"\d+(?:[.,]\d+)*")
_BETWEEN_ITEMS = re.compile(r"[ \t\r\n,]*")
_TRIES = 20  # brackets that may begin the list
_MOST = 2000  # facts: a model that repeats itself stops being read


class Fact(BaseModel):
    """One atomic fact as the model wrote it. quote: the words of the answer that it took it from; empty if it gave none."""

    model_config = ConfigDict(frozen=True, extra="ignore", str_strip_whitespace=True)

    fact: str
    quote: str = ""

    @field_validator("fact")
    @classmethod
    def _says_something(cls, value: str) -> str:
        if not any(c.isalnum() for c in value):
            raise ValueError("a fact has no words")
        return value


def read_facts(reply: str) -> list[Fact] | None:
    """The facts in a model's reply, without repetitions; None if it holds no list of facts.

    Read item by item, whatever stands around them (a code fence, an object that holds the list, no brackets): a list cut by
    the token limit gives the facts before the cut. An item is `{"fact": ..., "quote": ...}` or a string; others are passed
    over, but a list of nothing else is none. An empty list is one.

    >>> read_facts('Sure: [{"fact": "Tokyo is a city", "quote": "Tokyo"}, {"fa')
    [Fact(fact='Tokyo is a city', quote='Tokyo')]
    """
    empty = False
    lists = [m.end() for m in re.finditer(r"\[", reply)][:_TRIES]
    for start in [*lists, reply.find("{")]:
        items, closed = _items(reply, start) if start >= 0 else ([], False)
        if facts := list(dict.fromkeys(fact for item in items[:_MOST] if (fact := _fact(item)) is not None)):
            return facts
        empty = empty or (closed and not items)
    return [] if empty else None


def find_place(fact: Fact, answer: str, sentences: Sequence[Span], *, question: str, threshold: float) -> Span | None:
    """Where in the answer a fact comes from; None if nowhere. sentences: the spans to search for what is similar."""
    known = set(_NUMBERS.findall(f"{answer} {question}"))
    if not known.issuperset(_NUMBERS.findall(fact.fact)):
        return None
    for words in filter(None, (fact.quote, fact.fact)):
        if place := _verbatim(words, answer) or _similar(words, answer, sentences, threshold):
            return place
    return None


def _items(reply: str, at: int) -> tuple[list[Any], bool]:
    """The items of a list from behind its bracket up to its end or the first that is no JSON, and whether its end was there."""
    items: list[Any] = []
    while True:
        at = _BETWEEN_ITEMS.match(reply, at).end()  # type: ignore[union-attr]  # it matches everywhere
        if reply[at : at + 1] == "]":
            return items, True
        try:
            item, at = parse_at(reply, at)
        except ValueError:
            return items, False
        items.append(item)


def _fact(item: Any) -> Fact | None:
    try:
        return Fact.model_validate({"fact": item} if isinstance(item, str) else item)
    except ValidationError:
        return None


def _verbatim(words: str, answer: str) -> Span | None:
    """Word for word, but for case, white space and emphasis marks; not inside a longer word."""
    parts = [re.escape(part) for part in re.split(_SPACE_OR_MARK, words.strip(" .,;:\"'“”")) if part]
    if not parts:
        return None
    found = re.search(rf"(?<!\w){_SPACE_OR_MARK.join(parts)}(?!\w)", answer, re.IGNORECASE)
    return found.span() if found else None


def _similar(words: str, answer: str, sentences: Sequence[Span], threshold: float) -> Span | None:
    best: tuple[float, Span] | None = None
    for start, end in sentences:
        sentence = answer[start:end]
        if len(words) >= len(sentence):
            score, place = fuzz.ratio(words.casefold(), sentence.casefold()), (start, end)
        else:
            found = fuzz.partial_ratio_alignment(words.lower(), sentence.lower(), score_cutoff=threshold)
            if found is None or len(sentence.lower()) != len(sentence):
                continue
            score = found.score
            place = _whole_words(answer, start + found.dest_start, start + found.dest_end, (start, end))
        if score >= threshold and (best is None or score > best[0]):
            best = score, place
    return best[1] if best else None


def _whole_words(answer: str, start: int, end: int, within: Span) -> Span:
    while start > within[0] and answer[start].isalnum() and answer[start - 1].isalnum():
        start -= 1
    while end < within[1] and answer[end - 1].isalnum() and answer[end].isalnum():
        end += 1
    inside = [i for i in range(start, end) if not answer[i].isspace()]
    return (inside[0], inside[-1] + 1) if inside else within
