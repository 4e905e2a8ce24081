"""Markdown -> a tree of blocks with the characters of each. Plain text is Markdown of paragraphs.

The parser is markdown-it's; this file adds where the text of a block begins. Knows nothing about claims.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Literal

from markdown_it import MarkdownIt

if TYPE_CHECKING:
    from collections.abc import Iterator

    from markdown_it.token import Token

BlockKind = Literal[
    "document", "quote", "list", "item", "table", "header", "row", "paragraph", "heading", "code", "rule"
]

_OPENED: dict[str, BlockKind] = {
    "blockquote_open": "quote",
    "bullet_list_open": "list",
    "ordered_list_open": "list",
    "list_item_open": "item",
    "table_open": "table",
    "thead_open": "header",
    "tr_open": "row",
    "paragraph_open": "paragraph",
    "heading_open": "heading",
}
_SINGLE: dict[str, BlockKind] = {"fence": "code", "code_block": "code", "html_block": "paragraph", "hr": "rule"}
_MARKERS = re.compile(r"(?:[ \t>]|(?:[-*+]|\d{1,9}[.)])[ \t])*")


@dataclass(slots=True, eq=False)
class Block:
    """Lines `first` to `last` (excluded), and of a leaf also its text: `answer[start:end]`, without its markers.

    number: of an item of an ordered list. level: of a heading.
    """

    kind: BlockKind
    first: int
    last: int
    start: int = 0
    end: int = 0
    number: int | None = None
    level: int = 0
    children: list[Block] = field(default_factory=list)

    def leaves(self) -> Iterator[Block]:
        """The blocks without blocks in them, in the order of the text."""
        if not self.children:
            yield self
        for child in self.children:
            yield from child.leaves()

    def blocks(self) -> Iterator[Block]:
        """Itself and every block in it."""
        yield self
        for child in self.children:
            yield from child.blocks()


@dataclass(frozen=True, slots=True)
class Page:
    """An answer, its lines (line i is `answer[lines[i]:lines[i + 1]]`) and its blocks."""

    answer: str
    lines: tuple[int, ...]
    root: Block

    @property
    def count(self) -> int:
        return len(self.lines) - 1

    def line(self, index: int) -> str:
        return self.answer[self.lines[index] : self.lines[index + 1]]

    def column(self, position: int) -> int:
        """How far a position is from the start of its line."""
        return position - max(start for start in self.lines if start <= position)


@cache
def _parser() -> MarkdownIt:
    # `text` over `---` is a paragraph and a rule in a model's answer, not a heading; a link definition is text.
    return MarkdownIt("commonmark").enable("table").disable(["inline", "reference", "lheading"])


def parse(answer: str) -> Page:
    """The blocks of an answer."""
    ends = [match.end() for match in re.finditer(r"\r\n|\r|\n", answer)]
    lines = tuple(dict.fromkeys([0, *ends, len(answer)])) if answer else (0, 0)
    page = Page(answer, lines, Block("document", 0, len(lines) - 1, 0, len(answer)))
    open_blocks = [page.root]
    for token in _parser().parse(answer):
        _read(token, open_blocks, page)
    _split_lazy_lines(page)
    return page


def _read(token: Token, open_blocks: list[Block], page: Page) -> None:
    kind = _OPENED.get(token.type) or _SINGLE.get(token.type)
    parent = open_blocks[-1]
    if token.nesting == 1:
        block = parent
        if kind and token.map and parent.kind != "header":  # the header row is part of the header
            block = Block(kind, token.map[0], min(token.map[1], page.count))
            if kind == "header":
                block.last = min(block.first + 2, page.count)  # the row of dashes too
            if kind == "item" and token.info:
                block.number = int(token.info)
            if kind == "heading":
                block.level = int(token.tag[1:])
            _place(block, "", page)
            parent.children.append(block)
        open_blocks.append(block)
    elif token.nesting == -1:
        open_blocks.pop()
    elif token.type == "inline":
        if parent.kind in ("paragraph", "heading"):
            _place(parent, token.content, page)
    elif kind and token.map:
        block = Block(kind, token.map[0], min(token.map[1], page.count))
        _place(block, "", page)
        parent.children.append(block)


def _place(block: Block, content: str, page: Page) -> None:
    """Where the text begins and ends: what stands before it on its first line are markers of blocks around it."""
    line = page.line(block.first)
    first_line = content.split("\n", 1)[0]
    found = line.find(first_line) if first_line else -1
    markers = _MARKERS.match(line)
    skipped = found if found >= 0 else (markers.end() if markers else 0)
    block.start = page.lines[block.first] + skipped
    block.end = block.start + len(page.answer[block.start : page.lines[block.last]].rstrip())
    if block.kind == "heading":
        block.end = block.start + len(first_line)


def _split_lazy_lines(page: Page) -> None:
    """A line that only continues a list's last item by Markdown's laziness is meant as a paragraph after the list.

    "1. Paris\\n2. Lyon\\nBoth are large.": models leave the empty line out.
    """
    out: list[Block] = []
    for block in page.root.children:
        out.append(block)
        last = list(block.leaves())[-1]
        if block.kind != "list" or last.kind != "paragraph":
            continue
        column = page.column(last.start)
        for index in range(last.first + 1, last.last):
            line = page.line(index)
            if len(line) - len(line.lstrip()) < column:
                rest = Block(
                    "paragraph", index, last.last, page.lines[index] + len(line) - len(line.lstrip()), last.end
                )
                last.last, last.end = index, len(page.answer[: page.lines[index]].rstrip())
                _shorten(block, index)
                out.append(rest)
                break
    page.root.children = out


def _shorten(block: Block, last: int) -> None:
    for each in block.blocks():
        each.last = min(each.last, last)
