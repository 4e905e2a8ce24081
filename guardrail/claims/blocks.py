"""Markdown -> the blocks of an answer, with their exact places. Knows nothing about sentences or claims.

markdown-it-py says which lines are what; the columns are found here, since it does not keep them. Four of CommonMark's rules
are off because they hide text that chat models mean as text: indented code, HTML blocks, headings underlined by the next
line, and link definitions. A number with a period at the beginning of a line is the number of a list item only where
its neighbour is one too: "1868. Then Edo became Tokyo." and the answer "42." are text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from itertools import pairwise
from typing import Literal

from markdown_it import MarkdownIt

BlockKind = Literal["paragraph", "item", "row", "heading", "code"]

_NUMBERED = re.compile(r"^[\s>]*(\d{1,9})([.)])(?=\s|$)")
_PREFIX = re.compile(r"^[\s>]*(?:(?:[-*+]|\d{1,9}[.)])\s+)*")
_BULLET = re.compile(r"[•●○◦▪■‣⁃·–—]\s+|\((?:\d{1,3}|[A-Za-z])\)\s+|[a-z]\)\s+")
_CHECKBOX = re.compile(r"\[[ xX]\]\s+")
_LABEL = re.compile(r"\*\*[^*\n]{1,60}\*\*|__[^_\n]{1,60}__|[^\W\d_][^:\n]{0,40}:\s+\S")
_NARROWEST = 60  # columns: nobody wraps text at fewer
_UNENCODABLE = re.compile("[\0\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Block:
    """A run of the answer that is one thing: `answer[start:end]`.

    hidden: places inside it that are not its text, such as the `>` of a quotation's second line.
    """

    kind: BlockKind
    start: int
    end: int
    hidden: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class _Line:
    """A line of a paragraph: where the physical line begins, where its text begins and ends."""

    line: int
    start: int
    end: int


def encodable(answer: str) -> str:
    """The answer without what UTF-8 or Markdown cannot hold (lone surrogates, NUL), of the same length."""
    return _UNENCODABLE.sub("\ufffd", answer)


def blocks(answer: str) -> list[Block]:
    """The blocks of an answer in the order of the text; every letter and digit lies in one, or in an item's number.

    >>> [(b.kind, "# Japan\\n- Tokyo"[b.start : b.end]) for b in blocks("# Japan\\n- Tokyo")]
    [('heading', 'Japan'), ('item', 'Tokyo')]
    """
    return _Reader(encodable(answer).replace("\r\n", " \n").replace("\r", "\n")).read()


@cache
def _markdown() -> MarkdownIt:
    parser = MarkdownIt("commonmark").enable("table").disable(["code", "html_block", "lheading", "reference"])
    parser.core.ruler.enableOnly(["block"])
    return parser


class _Reader:
    """One answer, read once; `text` has the answer's length."""

    def __init__(self, text: str) -> None:
        self.lines = text.split("\n")
        self.starts = [0]
        for line in self.lines:
            self.starts.append(self.starts[-1] + len(line) + 1)
        self.numbers = _numbered(self.lines)
        self.masked = [
            line
            if i in self.numbers or not (m := _NUMBERED.match(line))
            else f"{line[: m.start(2)]}·{line[m.end(2) :]}"
            for i, line in enumerate(self.lines)
        ]
        self.tokens = _markdown().parse("\n".join(self.masked))

    def read(self) -> list[Block]:
        found: list[Block] = []
        seen: set[int] = set()
        depth, in_table, heading = 0, False, False
        for token in self.tokens:
            kind = token.type
            depth += (kind == "list_item_open") - (kind == "list_item_close")
            in_table = (in_table or kind == "table_open") and kind != "table_close"
            heading = (heading or kind in ("heading_open", "thead_open")) and kind not in (
                "heading_close",
                "thead_close",
            )
            if token.map is None or kind not in ("fence", "tr_open", "inline") or (kind == "inline" and in_table):
                continue
            first, last = token.map[0], min(token.map[1], len(self.lines))
            seen.update(range(first, last))
            if kind == "fence":
                at = max(0, self.lines[first].find(token.markup))
                found += self._block("code", self.starts[first] + at, self.starts[last] - 1)
            elif kind == "tr_open":
                found += self._block("heading" if heading else "row", self.starts[first], self.starts[first + 1] - 1)
            elif heading:
                found += self._block("heading", *self._heading(first, token.content))
            else:
                texts = zip(range(first, last), token.content.split("\n"), strict=False)
                found += self._paragraph([self._placed(i, text) for i, text in texts], "item" if depth else "paragraph")
        for i, line in enumerate(self.lines):  # nested deeper than the parser goes, and the like
            at = _prefix(self.masked[i])
            if i not in seen and any(c.isalnum() for c in line[at:]):
                found += self._paragraph([_Line(i, self.starts[i] + at, self.starts[i] + len(line))], "paragraph")
        return sorted(found, key=lambda b: b.start)

    def _block(self, kind: BlockKind, start: int, end: int) -> list[Block]:
        return [Block(kind, start, end)] if start < end else []

    def _heading(self, line: int, content: str) -> tuple[int, int]:
        text = self.lines[line]
        at = text.find(content, text.find("#"))
        return self.starts[line] + max(at, 0), self.starts[line] + (at + len(content) if at >= 0 else len(text))

    def _placed(self, line: int, content: str) -> _Line:
        text, content = self.masked[line].rstrip(), content.strip()
        at = len(text) - len(content) if content and text.endswith(content) else _prefix(text)
        return _Line(line, self.starts[line] + at, self.starts[line] + len(text))

    def _paragraph(self, lines: list[_Line], kind: BlockKind) -> Iterator[Block]:
        """A paragraph, cut where a line break is meant as one."""
        width = max([_NARROWEST, *(line.end - line.start for line in lines)])
        parts: list[list[_Line]] = []
        for line in lines:
            if parts and not self._deliberate(parts[-1][-1], line, width):
                parts[-1].append(line)
            else:
                parts.append([line])
        for part in parts:
            first = self._after_marker(part[0], item=kind == "item")
            own: BlockKind = kind
            if self._text(first).startswith("|"):
                own = "row"
            elif first.start > part[0].start:
                own = "item"
            hidden = tuple((a.end, b.start) for a, b in pairwise(part))
            if first.start < part[-1].end:
                yield Block(own, first.start, part[-1].end, hidden)

    def _text(self, line: _Line) -> str:
        begin = self.starts[line.line]
        return self.lines[line.line][line.start - begin : line.end - begin]

    def _after_marker(self, line: _Line, *, item: bool) -> _Line:
        text = self._text(line)
        marker = _BULLET.match(text) or (_CHECKBOX.match(text) if item else None)
        if marker is None and line.line in self.numbers:
            marker = re.match(r"\d{1,9}[.)]\s+", text)
        return replace(line, start=line.start + marker.end()) if marker else line

    def _deliberate(self, line: _Line, following: _Line, width: int) -> bool:
        """Whether a break is meant: a wrapper breaks a line only where the next word does not fit."""
        text = self._text(following)
        if self.lines[line.line].endswith(("  ", "\\")) or text.startswith("|") or _LABEL.match(text):
            return True
        if following.line in self.numbers or _BULLET.match(text):
            return True
        if not text or text[0].islower():
            return False
        return line.end - line.start + 1 + len(text.split(maxsplit=1)[0]) <= width


def _prefix(line: str) -> int:
    match = _PREFIX.match(line)
    return match.end() if match else 0


def _numbered(lines: list[str]) -> set[int]:
    """Lines that begin with the number of an item: 0, 1, or a number below 100 next to another such number."""
    matches = {i: m for i, line in enumerate(lines) if (m := _NUMBERED.match(line)) and line[m.end() :].strip()}
    numbers = {int(m[1]) for m in matches.values()}
    return {
        i for i, m in matches.items() if (n := int(m[1])) < 2 or (n < 100 and (n - 1 in numbers or n + 1 in numbers))
    }
