"""Claims -> the pieces of text that stay or go together.

A piece is what one claim stands for in one block, with the punctuation, emphasis and bullet that belong to it; claims that
share characters share a piece, and so do the claims of one table row. Text between claims is a piece without a claim.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from guardrail.claims.markdown import Block, Page
    from guardrail.types import Aside, ClaimAction, JudgedClaim

_STRICTNESS: dict[ClaimAction, int] = {"keep": 0, "hedge": 1, "drop": 2}
_PAIRS = {"(": ")", "[": "]", "“": "”", "«": "»", "‘": "’", '"': '"', "'": "'"}
_BULLET = re.compile(r"(?:^|(?<=\n))[ \t>]*(?:[•‣◦·▪–—*-]|\(?\d{1,3}[.)]|\(?[a-z][.)])[ \t]+$")
_AFTER = re.compile(r"(?:[.!?;:,…。！？；，]|[ \t]?\[\^?\d+\])+")
_NOT_A_STOP = re.compile(
    r"(?:\b(?:[A-Z]|Dr|Mr|Mrs|Ms|St|Prof|Mt|No|vs|ca|approx|etc|cf|Jr|Sr|Inc|Ltd|e\.g|i\.e|a\.m|p\.m|U\.S|U\.K)\.)$"
)
_SENTENCE_END = re.compile(r"[.!?…][\"'”’)\]*_]*(?=\s+[^\sa-z])|[。！？]|\n(?=[ \t>]*[•‣◦▪*-][ \t])")
_JOINT = re.compile(
    r"\s*(?:[,;:–—-]\s*)?(?:(?:and|but|or|while|whereas|so|yet|although|though|then)\s+)?", re.IGNORECASE
)
_BLANK = re.compile(r"(?:\s|^>|(?<=\n)[ \t]*>)*")


@dataclass(slots=True, eq=False)
class Piece:
    """`answer[start:end]`, and the indices of its claims (none: text between claims). inner: where the claim itself begins.

    action: the strictest of its claims' actions. gone: it is not shown, whatever its action.
    """

    start: int
    end: int
    claims: tuple[int, ...] = ()
    inner: int = 0
    action: ClaimAction = "keep"
    gone: bool = False
    shown: str | None = None


@dataclass(slots=True, eq=False)
class Passage:
    """The pieces of one block, in the order of the text."""

    leaf: Block
    pieces: list[Piece] = field(default_factory=list)

    @property
    def checked(self) -> list[Piece]:
        return [piece for piece in self.pieces if piece.claims]

    @property
    def gone(self) -> bool:
        """Every claim in it went; what stands around them went with them."""
        return bool(self.checked) and all(piece.gone for piece in self.checked)


def passages(page: Page, claims: Sequence[JudgedClaim], asides: Iterable[Aside]) -> list[Passage]:
    """Every block that has text, with its pieces; the strictest action of the claims in a piece is the piece's.

    Raises ValueError for a claim outside the answer, or one whose action cannot be shown.
    """
    for claim in claims:
        place = claim.claim
        if not 0 <= place.start < place.end <= len(page.answer):
            raise ValueError(f"the claim {claim.text!r} is not in the answer: characters {place.start} to {place.end}")
        if claim.action not in _STRICTNESS:
            raise ValueError(f"the claim {claim.text!r} has the action {claim.action!r}; decide again before rewriting")
    leaves = [leaf for leaf in page.root.leaves() if leaf.kind != "document"]
    standing = _claims_of_leaves(leaves, claims)
    out = [
        Passage(leaf, _checked_pieces(page, leaf, claims, here)) for leaf, here in zip(leaves, standing, strict=True)
    ]
    for index, where in enumerate(_pieces_of(out, len(claims))):
        if not where:
            raise ValueError(f"the claim {claims[index].text!r} stands in no block of the answer")
    _settle(out, claims)
    borders = sorted(
        {border for aside in asides if aside.start is not None for border in (aside.start, aside.end or 0)}
    )
    for passage in out:
        passage.pieces = _with_text_between(page.answer, passage, borders)
        _follow_neighbours(page.answer, passage.pieces)
    return out


def _claims_of_leaves(leaves: Sequence[Block], claims: Sequence[JudgedClaim]) -> list[list[int]]:
    """The indices of the claims that have characters in each leaf; leaves follow each other."""
    starts, ends = [leaf.start for leaf in leaves], list(accumulate((leaf.end for leaf in leaves), max))
    found: list[list[int]] = [[] for _ in leaves]
    for index, judged in enumerate(claims):
        for i in range(bisect_right(ends, judged.claim.start), bisect_left(starts, judged.claim.end)):
            found[i].append(index)
    return found


def _checked_pieces(page: Page, leaf: Block, claims: Sequence[JudgedClaim], here: Sequence[int]) -> list[Piece]:
    spans = []
    sentences = _Sentences(page.answer, leaf)
    for index in here:
        judged = claims[index]
        start, end = max(judged.claim.start, leaf.start), min(judged.claim.end, leaf.end)
        text = page.answer[start:end]
        start, end = start + len(text) - len(text.lstrip()), start + len(text.rstrip())
        if start >= end:
            continue
        if leaf.kind in ("row", "header"):
            start, end = leaf.start, leaf.end
        elif judged.claim.kind == "atomic":
            start, end = sentences.around(start, end)
        spans.append(Piece(start, end, (index,), start))
    merged: list[Piece] = []
    for piece in sorted(spans, key=lambda p: (p.start, p.end)):
        if merged and piece.start < merged[-1].end:
            merged[-1] = replace(
                merged[-1], end=max(merged[-1].end, piece.end), claims=(*merged[-1].claims, *piece.claims)
            )
        else:
            merged.append(piece)
    for i, piece in enumerate(merged):
        before = merged[i - 1].end if i else leaf.start
        after = merged[i + 1].start if i + 1 < len(merged) else leaf.end
        _take_in(page.answer, piece, before, after)
    return merged


class _Sentences:
    """The sentences of a block: what is left of half a sentence is none."""

    def __init__(self, answer: str, leaf: Block) -> None:
        self.text, self.start = answer[leaf.start : leaf.end], leaf.start

    @cached_property
    def borders(self) -> list[int]:
        found = _SENTENCE_END.finditer(self.text)
        ends = [m.end() for m in found if not _NOT_A_STOP.search(self.text, max(m.start() - 8, 0), m.start() + 1)]
        return [0, *ends, len(self.text)]

    def around(self, start: int, end: int) -> tuple[int, int]:
        """The sentence or sentences that a part of one, `answer[start:end]`, stands in."""
        low = self.borders[bisect_right(self.borders, start - self.start) - 1]
        high = self.borders[bisect_left(self.borders, end - self.start)]
        text = self.text[low:high]
        return self.start + low + len(text) - len(text.lstrip()), self.start + low + len(text.rstrip())


def _take_in(answer: str, piece: Piece, before: int, after: int) -> None:
    """Final punctuation, references, emphasis and quotes around a claim, and the bullet before it, are part of it."""
    while True:
        if found := _AFTER.match(answer, piece.end, after):
            piece.end = found.end()
        marks_start = piece.start
        while marks_start > before and answer[marks_start - 1] in "*_~`":
            marks_start -= 1
        marks = answer[marks_start : piece.start]
        if marks and answer.startswith(marks, piece.end, after):
            piece.start, piece.end = piece.start - len(marks), piece.end + len(marks)
            continue
        opening = answer[piece.start - 1 : piece.start] if piece.start > before else ""
        closing = _PAIRS.get(opening)
        if closing and piece.end < after and answer[piece.end] == closing:
            piece.start, piece.end = piece.start - 1, piece.end + 1
            continue
        break
    piece.inner = piece.start
    if found := _BULLET.search(answer[before : piece.start]):
        piece.start = before + found.start() + len(found.group()) - len(found.group().lstrip())


def _pieces_of(out: Sequence[Passage], n: int) -> list[list[Piece]]:
    """The pieces of each claim: several where it runs over several blocks."""
    where: list[list[Piece]] = [[] for _ in range(n)]
    for passage in out:
        for piece in passage.pieces:
            for claim in piece.claims:
                where[claim].append(piece)
    return where


def _settle(out: Sequence[Passage], claims: Sequence[JudgedClaim]) -> None:
    where = _pieces_of(out, len(claims))
    for passage in out:
        for piece in passage.pieces:
            piece.action = max((claims[i].action for i in piece.claims), key=_STRICTNESS.__getitem__)
            piece.gone = piece.action == "drop"
    gone = [piece for passage in out for piece in passage.pieces if piece.gone]
    while gone:  # a claim that lost one of its pieces loses the others
        for claim in gone.pop().claims:
            for piece in where[claim]:
                if not piece.gone:
                    piece.gone, piece.action = True, "drop"
                    gone.append(piece)
            where[claim] = []  # all of them are gone


def _with_text_between(answer: str, passage: Passage, borders: Sequence[int]) -> list[Piece]:
    leaf, out, at = passage.leaf, [], passage.leaf.start
    for piece in [*passage.pieces, None]:
        end = piece.start if piece else leaf.end
        cuts = [at, *borders[bisect_right(borders, at) : bisect_left(borders, end)], end]
        for low, high in pairwise(cuts):
            text = answer[low:high]
            blank = _BLANK.match(text)
            if is_joint(text) or (blank and blank.end() == len(text)):
                continue
            start = low + (blank.end() if blank else 0)
            out.append(Piece(start, low + len(text.rstrip()), inner=start))
        if piece:
            out.append(piece)
            at = piece.end
    return out


def _follow_neighbours(answer: str, pieces: Sequence[Piece]) -> None:
    """A label goes with the claim it introduces; marks without a word go with what stands before them."""
    for i in reversed(range(len(pieces))):
        text = answer[pieces[i].start : pieces[i].end].rstrip("*_~ ")
        following = pieces[i + 1] if i + 1 < len(pieces) else None
        if not pieces[i].claims and text.endswith((":", "–", "—")) and following is not None:
            pieces[i].gone = following.gone
    for i, piece in enumerate(pieces):
        if not piece.claims and not any(c.isalnum() for c in answer[piece.start : piece.end]):
            piece.gone = pieces[i - 1].gone if i else bool(len(pieces) > 1 and pieces[1].gone)


def is_joint(text: str) -> bool:
    """Whether text between two clauses only joins them: space, a comma, a conjunction."""
    found = _JOINT.fullmatch(text)
    return found is not None
