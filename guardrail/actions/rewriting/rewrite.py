"""The answer that is left when some of its claims are hedged and others dropped.

It should read as if it had been written so: no double spaces, no "However," after nothing, no list without items. Apart from
a hedge at its end and a connective at its start, no claim's words change, and what is kept entirely is returned as it was.

Not done: a pronoun whose antecedent went ("It has two rivers.") stays as it is; a hedge or a full stop never moves into another
sentence; the header of a table stays whatever is dropped. Claims that share characters share the strictest action (drop, then
hedge, then keep), and so do the claims of one table row; an atomic claim stands for the whole sentence it was taken from.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from guardrail.actions.rewriting.layout import Edit, layout_edits
from guardrail.actions.rewriting.pieces import passages
from guardrail.actions.rewriting.prose import capitalised, ended, final_stop, hedged, without_connective
from guardrail.actions.rewriting.pruning import prune
from guardrail.claims.markdown import parse

if TYPE_CHECKING:
    from collections.abc import Sequence

    from guardrail.actions.rewriting.pieces import Passage, Piece
    from guardrail.claims.markdown import Page
    from guardrail.types import Aside, JudgedClaim


@dataclass(frozen=True, slots=True)
class Rewritten:
    """The answer from its claims. claims: the same ones, with what stands for each in `shown` (empty: nothing does).

    spans: where that is, `text[start:end] == claim.shown`, or None. empty: there were claims and none is left; the text
    is empty then, and what to say instead is for the caller.
    """

    text: str
    claims: tuple[JudgedClaim, ...]
    spans: tuple[tuple[int, int] | None, ...]
    empty: bool = False


def rewrite(answer: str, claims: Sequence[JudgedClaim], asides: Sequence[Aside] = ()) -> Rewritten:
    """Keep, hedge or drop each claim of an answer.

        rewrite("Paris is large. However, it is flat.", [dropped, kept]).text   # "It is flat."

    claims: each with its decision, `answer[claim.start:claim.end]` its source. asides: what claims nothing; their places
    tell a label or an introduction from its neighbours. Raises ValueError for a claim that is not in the answer and for
    the action `retrieve`, which is a step on the way.
    """
    page = parse(answer)
    found = passages(page, claims, asides)
    titles = {(a.start, a.end or 0) for a in asides if a.reason == "heading" and a.start is not None}
    gone = prune(page, found, titles)
    shown = [piece for passage in found for piece in passage.checked if not piece.gone]
    if claims and not shown:
        return Rewritten("", tuple(replace(claim, shown="") for claim in claims), (None,) * len(claims), empty=True)
    edits = layout_edits(page, gone)
    orphaned = False  # whether the claim before this one went
    for passage in found:
        if id(passage.leaf) not in gone:
            edits += _edit_passage(page, passage, claims, orphaned)
        if passage.checked:
            orphaned = passage.checked[-1].gone
    return _assemble(answer, sorted(edits), shown, claims)


def _edit_passage(page: Page, passage: Passage, claims: Sequence[JudgedClaim], orphaned: bool) -> list[Edit]:
    answer, pieces, edits = page.answer, passage.pieces, []
    left = [i for i, piece in enumerate(pieces) if not piece.gone]
    ends = {i: _end(answer, pieces, i) for i in left}
    last_checked: list[Piece | None] = [None]  # before each piece
    for piece in pieces:
        last_checked.append(piece if piece.claims else last_checked[-1])
    for at, i in enumerate(left):
        piece = pieces[i]
        before = left[at - 1] if at else -1
        joined = False  # the rest of a sentence that began before what was dropped
        if before != i - 1:
            joined = at > 0 and not ends[before].closed
            start = pieces[before].end if at else pieces[0].start
            gaps = [
                answer[a.end : b.start]
                for a, b in zip(pieces[max(before, 0) : i], pieces[max(before, 0) + 1 : i + 1], strict=True)
            ]
            edits.append(Edit(start, piece.start, (gaps[-1] if joined else _widest(gaps)) if at else ""))
        checked = last_checked[i]
        follows_nothing = checked.gone if checked else orphaned
        text = piece.shown or answer[piece.start : piece.end]
        if piece.claims and passage.leaf.kind not in ("row", "header"):
            marker, words = text[: piece.inner - piece.start], text[piece.inner - piece.start :]
            if follows_nothing and not joined:
                words = without_connective(words)
            if i and pieces[i - 1].gone and not joined and _runs_on(answer, pieces[i - 1], piece):
                words = capitalised(words)
            text = marker + words
        text = ended(text, ends[i].stop) if ends[i].stop else text
        if piece.action == "hedge":
            weakest = min((claims[c] for c in piece.claims if claims[c].action == "hedge"), key=_confidence)
            text = hedged(text, weakest, row=passage.leaf.kind in ("row", "header"))
        if text != answer[piece.start : piece.end]:
            piece.shown = text
            edits.append(Edit(piece.start, piece.end, text))
    if left and left[-1] != len(pieces) - 1:
        edits.append(Edit(pieces[left[-1]].end, pieces[-1].end, ""))
    return edits


@dataclass(frozen=True, slots=True)
class _End:
    """How a piece that stays ends. closed: what follows is a new sentence. stop: the full stop that it needs."""

    closed: bool
    stop: str


def _end(answer: str, pieces: Sequence[Piece], i: int) -> _End:
    following = next((j for j in range(i + 1, len(pieces)) if not pieces[j].gone), len(pieces))
    if following == i + 1 or not _runs_on(answer, pieces[i], pieces[i + 1]):
        return _End(True, "")
    stop = final_stop(answer[pieces[following - 1].start : pieces[following - 1].end])
    return _End(bool(stop), stop)


def _runs_on(answer: str, piece: Piece, following: Piece) -> bool:
    """Whether a sentence goes on from one piece to the next."""
    gap = answer[piece.end : following.start]
    return bool(piece.claims) and "\n" not in gap and not final_stop(answer[piece.start : piece.end])


def _widest(gaps: Sequence[str]) -> str:
    """The gap to keep: a line break rather than a space, and a space rather than nothing."""
    with_break = next((gap for gap in gaps if "\n" in gap), None)
    if with_break is not None:
        return with_break
    return next((gap for gap in gaps if gap and gap.isspace()), " " if any(gaps) else "")


def _confidence(claim: JudgedClaim) -> float:
    p = claim.confidence.p_correct
    return p if claim.score.unscored is None and p is not None and 0.0 <= p <= 1.0 else -1.0


def _assemble(answer: str, edits: Sequence[Edit], pieces: Sequence[Piece], claims: Sequence[JudgedClaim]) -> Rewritten:
    out: list[str] = []
    at = length = 0
    starts = {}  # of each edit and of each piece in the new text
    wanted = sorted(
        {piece.start for piece in pieces} | {claims[c].claim.start for piece in pieces for c in piece.claims}
    )
    where = iter(wanted)
    mark = next(where, None)
    for edit in [*edits, Edit(len(answer), len(answer), "")]:
        while mark is not None and mark <= edit.start:
            starts[mark] = length + max(mark - at, 0)
            mark = next(where, None)
        out += [answer[at : edit.start], edit.text]
        length += edit.start - at + len(edit.text)
        at = edit.end
    spans: list[tuple[int, int] | None] = [None] * len(claims)
    text = "".join(out)
    for piece in pieces:
        for c in piece.claims:
            claim = claims[c].claim
            if piece.shown is None:
                first, size = max(claim.start, piece.start), min(claim.end, piece.end) - max(claim.start, piece.start)
            else:
                first, size = piece.start, len(piece.shown)
            start = starts[first]
            before = spans[c]
            spans[c] = (before[0] if before else start, start + size)
    judged = tuple(
        replace(c, shown=text[span[0] : span[1]] if span else "") for c, span in zip(claims, spans, strict=True)
    )
    return Rewritten(text, judged, tuple(spans))
