"""Which blocks go with the claims that went: empty lists and their introduction, headings over nothing, code about nothing."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING

from guardrail.actions.rewriting.prose import ended

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from guardrail.actions.rewriting.pieces import Passage
    from guardrail.claims.markdown import Block, Page

_TITLE = re.compile(r"\*\*[^*\n]+\*\*:?|__[^_\n]+__:?")
_LEADS_ON = re.compile(
    r"(?:\b(?:are|is|was|were|includes?|including|included|follows|following|these|this|below|here|namely|as|e\.g\.)"
    r"|\bfor (?:example|instance)):$",
    re.IGNORECASE,
)
_TITLE_LEVEL = 7  # below every heading


def prune(page: Page, passages: Sequence[Passage], headings: Collection[tuple[int, int]]) -> set[int]:
    """The ids of all blocks that go, leaves and what holds them. headings: the spans of asides that are headings."""
    pruning = _Pruning(page, {id(p.leaf): p for p in passages}, headings)
    pruning.visit(page.root)
    return pruning.gone


class _Pruning:
    def __init__(self, page: Page, passages: dict[int, Passage], headings: Collection[tuple[int, int]]) -> None:
        self.page, self.passages = page, passages
        self.gone: set[int] = set()
        spans = sorted(headings)
        self.heading_starts = [start for start, _ in spans]
        self.heading_ends = list(accumulate((end for _, end in spans), max))  # the furthest of those that begin so far

    def _in_heading(self, block: Block) -> bool:
        begun = bisect_right(self.heading_starts, block.start)
        return begun > 0 and block.end <= self.heading_ends[begun - 1]

    def _begins_heading(self, block: Block) -> bool:
        at = bisect_left(self.heading_starts, block.start)
        return self.heading_starts[at : at + 1] == [block.start]

    def visit(self, block: Block) -> None:
        for child in block.children:
            self.visit(child)
        if block.kind in ("document", "quote", "item"):
            self._code(block.children)
            self._introductions(block.children)
            self._headings(block.children)
        if self._is_gone(block):
            self._remove(block)

    def _is_gone(self, block: Block) -> bool:
        if not block.children:
            passage = self.passages.get(id(block))
            return id(block) in self.gone or (passage is not None and passage.gone)
        if block.kind == "table":
            header, rows = block.children[0], [c for c in block.children if c.kind == "row"]
            return id(header) in self.gone or (bool(rows) and all(id(row) in self.gone for row in rows))
        filled = [child for child in block.children if child.children or child.kind != "item"]
        return bool(filled) and all(id(child) in self.gone for child in filled)

    def _remove(self, block: Block) -> None:
        self.gone.update(id(each) for each in block.blocks())
        for leaf in block.leaves():
            if passage := self.passages.get(id(leaf)):
                for piece in passage.pieces:
                    piece.gone = True

    def _checked(self, block: Block) -> list[Block]:
        return [leaf for leaf in block.leaves() if (p := self.passages.get(id(leaf))) and p.checked]

    def _level(self, block: Block) -> int | None:
        """Of a heading, or of a paragraph that is one; None for everything else."""
        if block.kind == "heading":
            return block.level
        if block.kind != "paragraph" or self._checked(block):
            return None
        text = self.page.answer[block.start : block.end]
        is_title = _TITLE.fullmatch(text) or self._in_heading(block)
        return _TITLE_LEVEL if is_title else None

    def _opens(self, block: Block) -> int | None:
        """The level of the section that a block opens: a heading, or a paragraph whose first line is one."""
        level = self._level(block)
        if level is not None or block.kind != "paragraph":
            return level
        first_line = self.page.answer[block.start : block.end].split("\n", 1)[0].rstrip()
        is_title = _TITLE.fullmatch(first_line) or self._begins_heading(block)
        return _TITLE_LEVEL if is_title else None

    def _code(self, children: Sequence[Block]) -> None:
        """Code stays while anything checkable of its section does."""
        section: list[Block] = []
        for child in [*children, None]:
            if child is not None and self._opens(child) is None:
                section.append(child)
                continue
            checked = [leaf for block in section for leaf in self._checked(block)]
            if checked and all(id(leaf) in self.gone for leaf in checked):
                for block in section:
                    if block.kind == "code":
                        self._remove(block)
            section = [child] if child is not None else []

    def _introductions(self, children: Sequence[Block]) -> None:
        """`The main cities are:` goes with what it introduces."""
        for block, following in reversed(list(pairwise(children))):
            passage = self.passages.get(id(block))
            if block.kind != "paragraph" or passage is None or id(following) not in self.gone or passage.gone:
                continue
            if self._level(following) is not None or self._level(block) is not None:
                continue
            text = self.page.answer[block.start : block.end].rstrip("*_ ")
            last = passage.pieces[-1] if passage.pieces else None
            if last is None or last.gone or not text.endswith(":"):
                continue
            if not last.claims or _LEADS_ON.search(text):
                last.gone = True
                if all(piece.gone for piece in passage.pieces):
                    self._remove(block)
            else:  # a claim of its own, like "Paris has three parts:"
                last.shown = ended(self.page.answer[last.start : last.end].rstrip("*_ "), ".")

    def _headings(self, children: Sequence[Block]) -> None:
        """A heading, or a rule between sections, goes when something below it went and nothing is left."""
        for i in reversed(range(len(children))):
            level = 0 if children[i].kind == "rule" else self._level(children[i])
            if level is None:
                continue
            below: list[Block] = []
            for block in children[i + 1 :]:
                other = 0 if block.kind == "rule" else self._opens(block)
                if other is not None and other <= level:
                    break
                below.append(block)
            if any(id(block) in self.gone for block in below) and all(
                id(block) in self.gone or block.kind == "rule" for block in below
            ):
                self._remove(children[i])
        for child in children[1:] if children and id(children[0]) in self.gone else ():
            if child.kind == "rule":
                self._remove(child)
            if id(child) not in self.gone:
                break
