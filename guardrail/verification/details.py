"""The names and numbers of a statement, and the statements that say another one in their place. Knows nothing about models.

A name is a run of words that begin with a capital letter; a sentence's first word is one unless it is a word of grammar. A
number is a word with a digit in it. In a statement with neither, all words but those of (English) grammar stand for them.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import zip_longest
from typing import Literal

from guardrail.folding import marks, points_agree, spelt_out
from guardrail.languages import denies as denies_in_other_words
from guardrail.plain_text import SIGNED, signed

_LETTERS = rf"[^\W_](?:[^\W_]|[{marks()}])*"
_WORD = re.compile(rf"{SIGNED}|(?<![\w.)])[-−]\d[\d.,]*(?![^\W\d_])\b|{_LETTERS}(?:[.,'’\-‐‑]{_LETTERS})*")
_NEGATION = re.compile(
    r"\b(?:not|never|no|none|nor|neither|nobody|nothing|nowhere|without|cannot|hardly|false|untrue)\b|n['’]t\b",
    re.IGNORECASE,
)
_GRAMMAR = frozenset(
    """
    a about after all also an and another any are as at be because been before both but by can could did do does
    during each even every few first for from had has have he her here hers him his how however i if in into is it
    its last later like many may might more most much my near no none nor not of on one only or other our over
    people several she should since so some such than that the their them then there these they this those though
    through thus to today under until was we were what when where which while who whose why will with would yes
    you your
    """.split()  # noqa: SIM905  (a list of that many strings is hard to read)
)


@dataclass(frozen=True, slots=True)
class Detail:
    """A name, a number or a word, `text[start:end]` of the statement that it is from."""

    text: str
    start: int
    end: int
    kind: Literal["name", "number", "word"]


def details(statement: str) -> list[Detail]:
    """The names and numbers of a statement, in its order.

    >>> [d.text for d in details("In 1867 Marie Curie was born in Warsaw.")]
    ['1867', 'Marie Curie', 'Warsaw']
    """
    return [d for d in _details(statement) if d.kind != "word"]


def _details(statement: str) -> list[Detail]:
    found: list[Detail] = []
    for match in _WORD.finditer(statement):
        word, last = match[0], found[-1] if found else None
        if any(unicodedata.category(c)[0] == "N" for c in word):
            found.append(Detail(word, *match.span(), "number"))
        elif word[0].isupper() and word.casefold() not in _GRAMMAR:
            if last and last.kind == "name" and re.fullmatch(r"\.?\s", statement[last.end : match.start()]):
                found[-1] = Detail(statement[last.start : match.end()], last.start, match.end(), "name")
            else:
                found.append(Detail(word, *match.span(), "name"))
        elif word.casefold() not in _GRAMMAR:
            found.append(Detail(word, *match.span(), "word"))
    return found


def missing(statement: str, passage: str) -> list[Detail]:
    """The names and numbers of a statement of which the passage lacks a word; case, accents and "'s" do not matter.

    A statement with fewer than two of them says something of a thing that has no capital letter: all its words count then.

    >>> [d.text for d in missing("Bern is the capital of Peru.", "Peru's capital is Lima.")]
    ['Bern']
    """
    known = _Known(passage)
    named = details(statement)
    return [d for d in (named if len(named) > 1 else _details(statement)) if not known.all_of(d.text)]


def backed(statement: str, sentence: str, passage: str) -> bool:
    """Whether the passage has every name and number of a statement, and the nearest sentence no other in their place.

    A sentence may leave out what the passage named before ("Its capital is Lima."), but then it names nothing else of that
    kind.

    >>> backed("The Po ends in Rome.", "The Po ends in the Adriatic.", "Rome is old. The Po ends in the Adriatic.")
    False
    """
    if missing(statement, passage):
        return False
    said, known = _Known(statement), _Known(sentence)
    absent = {d.kind for d in details(statement) if not known.all_of(d.text)}
    return not any(d.kind in absent and not said.any_of(d.text) for d in details(sentence))


def denies(statement: str) -> bool:
    """Whether there is a word of negation in it, in English or a language of guardrail.languages."""
    return bool(_NEGATION.search(statement)) or denies_in_other_words(statement)


def rivals(statement: str, passage: str, most: int) -> list[str]:
    """The statement with one name or number replaced by another that the passage gives, at most `most`.

    Names replace names, numbers replace numbers, and words words where the statement has neither; what shares a word with the
    statement replaces nothing. They take turns; what the passage lacks comes first, since that is where it may say otherwise.

    >>> rivals("Bern is the capital of Peru.", "Peru's capital is Lima.", 8)
    ['Lima is the capital of Peru.', 'Bern is the capital of Lima.']
    """
    said = _Known(statement)
    offered = [d for line in passage.split("\n") for s in _sentences(line) for d in _details(s)]
    own_details = details(statement) or _details(statement)
    known = _Known(passage)
    columns = [
        [
            statement[: own.start] + _bare(other.text) + statement[own.end :]
            for other in offered
            if _fits(own, other, said)
        ]
        for own in sorted(own_details, key=lambda d: known.all_of(d.text))
    ]
    made = dict.fromkeys(made for row in zip_longest(*columns) for made in row if made is not None)
    return list(made)[:most]


def _fits(own: Detail, other: Detail, said: _Known) -> bool:
    return other.kind == own.kind and not said.any_of(other.text)


class _Known:
    """The words of a text, to be asked for others: Hebrew and Arabic points count where both texts write them."""

    def __init__(self, text: str) -> None:
        self._raw: dict[str, set[str]] = {}
        for plain, raw in words(text):
            self._raw.setdefault(plain, set()).add(raw)

    def all_of(self, text: str) -> bool:
        return all(self._has(*word) for word in words(text))

    def any_of(self, text: str) -> bool:
        return any(self._has(*word) for word in words(text))

    def _has(self, plain: str, raw: str) -> bool:
        return any(points_agree(raw, other) for other in self._raw.get(plain, ()))


def words(text: str) -> Iterator[tuple[str, str]]:
    """Words as they are compared, and as they are written: no case, accents, possessive or commas in numbers; a number with the
    signs that change it.
    """
    for match in _WORD.finditer(text):
        raw = _bare(match[0])
        yield signed(spelt_out(raw)).replace(",", "").rstrip("!"), raw


def _bare(word: str) -> str:
    return re.sub(r"['’]s$", "", word)


def _sentences(line: str) -> list[str]:
    """Cut after every full stop with a space: a name does not run from one sentence into the next."""
    return re.split(r"(?<=[.!?])\s+", line)
