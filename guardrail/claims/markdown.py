"""Markdown -> a tree of blocks with the characters of each. Plain text is Markdown of paragraphs.

markdown-it-py says which lines are what; the columns are found here, since it does not keep them. Four of CommonMark's rules
are off because they hide text that chat models mean as text: indented code, HTML blocks, headings underlined by the next
line, and link definitions. A number with a period at the beginning of a line is the number of a list item only where
its neighbour is one too: "1868. Then Edo became Tokyo." and the answer "42." are text.
"""

from __future__ import annotations

import re
from bisect import bisect_right, insort_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import pairwise
from typing import Literal

from markdown_it import MarkdownIt
from markdown_it.token import Token

BlockKind = Literal[
    "document", "quote", "list", "item", "table", "header", "row", "paragraph", "heading", "code", "rule"
]
PartKind = Literal["sentence", "item", "row", "heading", "code"]
Span = tuple[int, int]

_KINDS: dict[str, BlockKind] = {
    "blockquote_open": "quote",
    "bullet_list_open": "list",
    "ordered_list_open": "list",
    "list_item_open": "item",
    "table_open": "table",
    "thead_open": "header",
    "tr_open": "row",
    "paragraph_open": "paragraph",
    "heading_open": "heading",
    "fence": "code",
    "hr": "rule",
}
_HOLDERS = ("document", "quote", "list", "item", "table")
_MARKERS = re.compile(r"(?:[ \t>]|(?:[-*+]|\d{1,9}[.)])(?:[ \t]|$))*[^\S\n]*", re.MULTILINE)
_QUOTE = re.compile(r"(?:[^\S\n]|>)*")
_NUMBER = re.compile(r"(?:[\s>]|[-*+]\s)*(\d{1,9})([.)])(?=\s|$)")
_BULLET = re.compile(r"(?:[•●○◦▪■‣⁃·–—]|\((?:\d{1,3}|[A-Za-z])\)|[a-z]\))\s+")
_CHECKBOX = re.compile(r"\[[ xX]\]\s+")
_LABEL = re.compile(r"\*\*[^*\n]{1,60}\*\*|__[^_\n]{1,60}__|[^\W\d_][^:\n]{0,40}:\s+\S")
_NARROWEST = 60  # columns: nobody wraps text at fewer
_UNENCODABLE = re.compile("[\0\ud800-\udfff]")


@dataclass(slots=True, eq=False)
class Block:
    """Lines `first` to `last` (excluded), and of a leaf also its text: `answer[start:end]`, without its markers.

    number: of an item of an ordered list. level: of a heading.
    """

    kind: BlockKind
    first: int
    last: int
    start: int
    end: int
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
class Part:
    """A leaf, or the part of a paragraph between two line breaks that are meant as such: `answer[start:end]`.

    hidden: places inside it that are not its text, such as the `>` of a quotation's second line.
    """

    kind: PartKind
    start: int
    end: int
    hidden: tuple[Span, ...] = ()


@dataclass(frozen=True, slots=True)
class Page:
    """An answer, its lines (line i is `answer[lines[i]:lines[i + 1]]`) and its blocks.

    text: what the parser reads, as long as the answer. numbered: the lines that begin with the number of an item.
    """

    answer: str
    text: str
    lines: tuple[int, ...]
    numbered: frozenset[int]
    root: Block

    @property
    def count(self) -> int:
        return len(self.lines) - 1

    def line(self, index: int) -> str:
        return self.answer[self.lines[index] : self.lines[index + 1]]

    def parts(self) -> list[Part]:
        """What the answer consists of; every letter and digit lies in a part, or in the number of an item.

        >>> [(p.kind, "# Japan\\n- Tokyo"[p.start : p.end]) for p in parse("# Japan\\n- Tokyo").parts()]
        [('heading', 'Japan'), ('item', 'Tokyo')]
        """
        return [part for part in self._parts(self.root, in_item=False) if part.start < part.end]

    def _parts(self, block: Block, *, in_item: bool) -> Iterator[Part]:
        for child in block.children:
            yield from self._parts(child, in_item=in_item or child.kind == "item")
        if block.kind == "paragraph":
            yield from self._cut(block, in_item=in_item)
        elif block.kind in ("heading", "header"):
            yield Part("heading", block.start, block.end)
        elif block.kind == "row" or block.kind == "code":
            yield Part(block.kind, block.start, block.end)

    def _cut(self, paragraph: Block, *, in_item: bool) -> Iterator[Part]:
        spans = self.spans(paragraph)
        for low, high in pairwise([0, *self.breaks(paragraph.first, spans), len(spans)]):
            (first, end), (_, last) = spans[low], spans[high - 1]
            start = first + self._marker(paragraph.first + low, self.text[first:end], in_item=in_item)
            is_row = self.text.startswith("|", start)
            kind: PartKind = "row" if is_row else "item" if in_item or start > first else "sentence"
            yield Part(kind, start, last, tuple((a[1], b[0]) for a, b in pairwise(spans[low:high])))

    def _marker(self, line: int, text: str, *, in_item: bool) -> int:
        """The length of what marks an item at the beginning of a line that is none to Markdown."""
        marker = _BULLET.match(text) or (_CHECKBOX.match(text) if in_item else None)
        if marker is None and line in self.numbered:
            marker = re.match(r"\d{1,9}[.)]\s+", text)
        return marker.end() if marker else 0

    def spans(self, paragraph: Block) -> list[Span]:
        """Where the text of each line of a paragraph is, without white space and the `>` of quotations."""
        found: list[Span] = []
        for i in range(paragraph.first, paragraph.last):
            start = _skip(_QUOTE, self.text, self.lines[i]) if found else paragraph.start
            found.append((start, _end(self.text, start, self.lines[i + 1])))
        return found

    def breaks(self, first: int, spans: Sequence[Span]) -> list[int]:
        """Which of a paragraph's lines, counted from its first, stand behind a break that is meant as one."""
        width = max([_NARROWEST, *(end - start for start, end in spans)])
        return [i for i in range(1, len(spans)) if self._is_meant(first + i, spans[i - 1], spans[i], width)]

    def _is_meant(self, line: int, before: Span, here: Span, width: int) -> bool:
        """A wrapper breaks a line only where the next word does not fit, and before any word."""
        text = self.text[here[0] : here[1]]
        if self.text[before[0] : self.lines[line] - 1].endswith(("  ", "\\")) or text.startswith("|"):
            return True
        if line in self.numbered or _BULLET.match(text) or _LABEL.match(text):
            return True
        if not text or text[0].islower():
            return False
        return before[1] - before[0] + 1 + len(text.split(maxsplit=1)[0]) <= width


@cache
def _parser() -> MarkdownIt:
    parser = MarkdownIt("commonmark").enable("table").disable(["code", "html_block", "lheading", "reference"])
    parser.core.ruler.enableOnly(["block"])
    return parser


def parse(answer: str) -> Page:
    """The blocks of an answer."""
    lines = encodable(answer).replace("\r\n", " \n").replace("\r", "\n").split("\n")
    numbered = _numbered(lines)
    for i, line in enumerate(lines):
        match = _NUMBER.match(line)
        if match and i in numbered:
            match = _NUMBER.match(line, match.end())  # "1. 1868. Edo" is an item, and 1868 its text
        if match:
            lines[i] = f"{line[: match.start(2)]}·{line[match.end(2) :]}"
    text = "\n".join(lines)
    starts = (*(0, *(match.end() for match in re.finditer("\n", text))), len(text))
    if len(starts) > 2 and starts[-2] == starts[-1]:
        starts = starts[:-1]
    page = Page(answer, text, starts, numbered, Block("document", 0, len(starts) - 1, 0, len(answer)))
    open_blocks = [page.root]
    for token in _parser().parse(text):
        _read(token, open_blocks, page)
    _add_lost_lines(page)
    _split_lazy_lines(page)
    return page


def encodable(answer: str) -> str:
    """The answer without what UTF-8 or Markdown cannot hold (lone surrogates, NUL), of the same length."""
    return _UNENCODABLE.sub("\ufffd", answer)


def _numbered(lines: Sequence[str]) -> frozenset[int]:
    """Lines that begin with the number of an item: 0, 1, or a number below 100 next to another such number.

    A number alone in its line is one only next to another, and an answer of nothing but such lines has none.
    """
    matches = {i: match for i, line in enumerate(lines) if (match := _NUMBER.match(line))}
    filled = {i for i, match in matches.items() if lines[i][match.end() :].strip()}
    numbers = {int(match[1]) for match in matches.values()} if filled else set()
    return frozenset(
        i
        for i, match in matches.items()
        if ((n := int(match[1])) < 2 and i in filled) or (n < 100 and not numbers.isdisjoint((n - 1, n + 1)))
    )


def _read(token: Token, open_blocks: list[Block], page: Page) -> None:
    parent = open_blocks[-1]
    block = None
    if (kind := _KINDS.get(token.type)) and token.map and parent.kind != "header":  # its row is part of the header
        block = _block(kind, token.map[0], token.map[1], page)
        if kind == "item" and token.info:
            block.number = int(token.info)
        if kind == "heading":
            block.level = int(token.tag[1:])
        parent.children.append(block)
    elif token.type == "inline" and parent.kind == "heading":
        content = token.content.strip()  # the parser keeps white space that is none to it, and drops a closing `##`
        at = page.text.find(content, parent.start, parent.end)
        if at >= 0:
            parent.start, parent.end = at, at + len(content)
    if token.nesting == 1:
        open_blocks.append(block or parent)
    elif token.nesting == -1:
        open_blocks.pop()


def _block(kind: BlockKind, first: int, last: int, page: Page) -> Block:
    """What stands before the text on a block's first line are the markers of blocks around it."""
    if kind == "header":
        last = first + 2  # the row of dashes too
    last = min(last, page.count)
    start = _skip(_MARKERS, page.text, page.lines[first])
    return Block(kind, first, last, start, _end(page.text, start, page.lines[first + 1 if kind == "header" else last]))


def _skip(pattern: re.Pattern[str], text: str, at: int) -> int:
    match = pattern.match(text, at)
    return match.end() if match else at


def _end(text: str, start: int, end: int) -> int:
    return start + len(text[start:end].rstrip())


def _add_lost_lines(page: Page) -> None:
    """Text that is nested deeper than the parser goes: each line a paragraph in the innermost block that has it."""
    held = {i for leaf in page.root.leaves() if leaf.kind not in _HOLDERS for i in range(leaf.first, leaf.last)}
    for i in range(page.count):
        block = _block("paragraph", i, i + 1, page)
        if i not in held and any(c.isalnum() for c in page.text[block.start : block.end]):
            around = page.root
            while inner := _holder(around.children, i):
                around = inner
            insort_right(around.children, block, key=_first_line)


def _first_line(block: Block) -> int:
    return block.first


def _holder(blocks: Sequence[Block], line: int) -> Block | None:
    """The one of these blocks, which follow each other, that has a line and may hold others."""
    at = bisect_right(blocks, line, key=_first_line)
    block = blocks[at - 1] if at else None
    return block if block and block.kind in _HOLDERS and line < block.last else None


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
        spans = page.spans(last)
        column = last.start - page.lines[last.first]
        for i in page.breaks(last.first, spans):
            line = last.first + i
            if spans[i][0] - page.lines[line] < column:
                out.append(Block("paragraph", line, last.last, spans[i][0], last.end))
                last.end = spans[i - 1][1]
                for each in block.blocks():
                    each.last = min(each.last, line)
                break
    page.root.children = out
