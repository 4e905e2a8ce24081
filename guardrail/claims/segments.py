"""An answer cut where a claim or an aside begins or ends, for pages and terminals that show it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from guardrail.errors import DataError
from guardrail.types import Aside, JudgedClaim


@dataclass(frozen=True, slots=True)
class Segment:
    """`answer[start:end]`, which lies in the same claims from end to end.

    claims: the positions in the verdict's `claims` that it lies in, none for what is no claim; more than one only where
    claims share characters. ends: those of them that end here. aside: what it is where it is not checked.
    """

    start: int
    end: int
    claims: tuple[int, ...] = ()
    ends: tuple[int, ...] = ()
    aside: Aside | None = None


def segments(answer: str, claims: Sequence[JudgedClaim], asides: Sequence[Aside] = ()) -> list[Segment]:
    """The whole answer in order: joined, the segments are the answer again. Asides without a place are in none.

    Raises `DataError` for a claim or an aside that does not lie in the answer: it would be shown at the wrong words.

        segments("Hi! Lyon is in France.", [lyon])  # Segment(0, 4), Segment(4, 22, claims=(0,), ends=(0,))
    """
    placed = [a for a in asides if a.start is not None and a.end is not None]
    spans = [(j.claim.start, j.claim.end) for j in claims]
    aside_spans = [(a.start or 0, a.end or 0) for a in placed]
    for what, start, end in [("a claim", *s) for s in spans] + [("an aside", *s) for s in aside_spans]:
        if not 0 <= start < end <= len(answer):
            raise DataError(f"{what} lies at {start}:{end}, which is no part of an answer of {len(answer)} characters")
    opening: dict[int, list[int]] = {}
    for i, (start, _) in enumerate(spans):
        opening.setdefault(start, []).append(i)
    aside_at = {start: a for (start, _), a in zip(aside_spans, placed, strict=True)}
    cuts = sorted({0, len(answer), *(edge for span in spans + aside_spans for edge in span)})
    found: list[Segment] = []
    inside: list[int] = []
    aside: Aside | None = None
    for start, end in pairwise(cuts):
        inside = sorted([i for i in inside if spans[i][1] > start] + opening.get(start, []))
        aside = aside_at.get(start, aside)
        if aside is not None and aside.end is not None and aside.end <= start:
            aside = None
        ends = tuple(i for i in inside if spans[i][1] == end)
        found.append(Segment(start, end, tuple(inside), ends, None if inside else aside))
    return found
