"""An answer taken apart, and proof that nothing was left out: what no claim and no aside holds would be shown unjudged.

Every extractor is called from here, whoever wrote it.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from guardrail.errors import DataError
from guardrail.types import Aside, Claims

if TYPE_CHECKING:
    from guardrail.claims.protocol import ClaimExtractor

# What marks an item at the beginning of a line: signs, numbers with a period, single letters with a bracket, checkboxes.
_MARK = re.compile(r"(?<![^\n\r])(?:\[[xX]\]|[^\w\n\r]|(?:\d{1,9}[.)]|[A-Za-z]\))(?=\s|$))+")


def take_apart(extractor: ClaimExtractor, answer: str, *, question: str = "") -> Claims:
    """The extractor's claims and asides; a letter or digit in none of them, nor in an item's mark, makes an aside "unread".

    An answer with such an aside must not be shown: nobody judged it.

    Args:
        extractor: What takes the answer apart.
        answer: The text, which may hold anything.
        question: What it answers, where that is known.

    Raises:
        DataError: A claim or an aside does not lie in the answer.
    """
    return completed(extractor.extract(answer, question=question), answer)


def completed(taken: Claims, answer: str) -> Claims:
    """What an extractor gave, with what it left out as asides "unread"; see `take_apart`."""
    left = unread(answer, taken)
    if not left:
        return taken
    return replace(taken, asides=(*taken.asides, *(Aside(answer[a:b], a, b, "unread") for a, b in left)))


def unread(answer: str, taken: Claims) -> list[tuple[int, int]]:
    """Where an answer has letters or digits that lie in no claim, no aside and no mark of an item: half-open, in order.

    >>> unread("Paris is large. Lyon too.", Claims((Claim("Paris is large.", 0, 15),)))
    [(16, 25)]

    Raises:
        DataError: A claim or an aside does not lie in the answer.
    """
    held = bytearray(len(answer))
    places = [(c.start, c.end) for c in taken.claims]
    places += [(a.start, a.end) for a in taken.asides if a.start is not None and a.end is not None]
    for start, end in places:
        if not 0 <= start < end <= len(answer):
            raise DataError(
                f"the extractor gave a place, {start}:{end}, that is no part of the answer's {len(answer)} characters; "
                "a claim or an aside lies at answer[start:end]"
            )
        held[start:end] = b"\1" * (end - start)
    for mark in _MARK.finditer(answer):
        held[mark.start() : mark.end()] = b"\1" * (mark.end() - mark.start())
    found: list[tuple[int, int]] = []
    at = 0
    while (start := held.find(0, at)) >= 0:
        at = end if (end := held.find(1, start)) >= 0 else len(answer)
        text = answer[start:at]
        if any(map(str.isalnum, text)):
            blank = len(text) - len(text.lstrip())
            found.append((start + blank, start + len(text.rstrip())))
    return found
