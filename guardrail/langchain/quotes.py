"""Where a response quotes: code spans, fences, indented and cited lines of Markdown, elements of HTML that show what they hold,
and what stands right behind an opening quote. Knows nothing about tool calls.
"""

from __future__ import annotations

import re
from typing import NamedTuple

_SHOWING = "code|pre|samp|kbd|tt|var|q|cite|blockquote|xmp|listing|textarea|template|script|style"
_TO_THE_END = frozenset(("pre", "blockquote", "xmp", "listing", "textarea", "!--"))
"""Elements that show all behind them where nothing closes them; of others the name may stand in a sentence."""
_MARK = re.compile(
    rf"(?P<ticks>`+|^[ \t]*~{{3,}})|<(?P<closes>/?)(?P<name>{_SHOWING})(?:\s[^<>]*)?>|(?P<comment><!--)|(?P<ends>-->)",
    re.MULTILINE | re.IGNORECASE,
)
_SHOWN_LINE = re.compile(r" {0,3}>| {4}|\t")
_OPENING_QUOTES = "\"'\uff02\uff07\u201c\u2018\u201e\u201a\u00ab\u2039\u300c\u300e\u300a\u3008\u301d"
_NARROW_BLANKS = (
    "\u00a0\u202f"  # French puts one behind an opening quote; a blank of another kind may follow a closing one
)


class _Mark(NamedTuple):
    start: int
    end: int
    key: str  # what a mark that this one opens is closed by; of a mark that only closes, what it is itself
    opens: bool
    lasts: bool  # to the end of the text, where nothing closes it


class Quotes:
    """Those of one text, asked for from left to right, in time that grows as the text does."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._marks = [_mark(found) for found in _MARK.finditer(text)]
        self._closing: dict[str, list[int]] = {}  # the marks that close, the first one last
        for i in reversed(range(len(self._marks))):
            if self._marks[i].key.startswith(("`", "~")) or not self._marks[i].opens:
                self._closing.setdefault(self._marks[i].key, []).append(i)
        self._next = 0  # the first mark that may open
        self._quote = (0, 0)  # the last quotation that was found
        self._line = self._seen = 0  # where the place's line begins, and the place before

    def hold(self, place: int, since: int = 0) -> bool:
        """Whether the text at `place` is quoted. since: marks before it count no more, since they belong to something else."""
        text = self._text
        self._line = max(self._line, text.rfind("\n", self._seen, place) + 1)
        self._seen = place
        while self._quote[1] <= place and self._next < len(self._marks) and self._marks[self._next].start < place:
            self._open(self._marks[self._next], place, since)
        before = place - 1 - (place - 1 > self._line and text[place - 1] in _NARROW_BLANKS)
        in_quotes = before >= self._line and text[before] in _OPENING_QUOTES
        shown = _SHOWN_LINE.match(text, self._line, place) is not None
        return self._quote[0] <= place < self._quote[1] or in_quotes or shown

    def _open(self, mark: _Mark, place: int, since: int) -> None:
        at, self._next = self._next, self._next + 1
        if not mark.opens or mark.start < since:
            return
        closing = self._closing.get(mark.key, [])
        while closing and closing[-1] <= at:
            closing.pop()
        last = self._outer(at, mark.key) if mark.key == "blockquote" else closing[-1] if closing else None
        if last is not None:
            self._quote, self._next = (mark.start, self._marks[last].end), last + 1
        elif mark.lasts or not self._text[mark.end : place].strip():
            self._quote = mark.start, len(self._text)

    def _outer(self, at: int, key: str) -> int | None:
        """What closes an element that may stand in one of its kind."""
        depth = 0
        for i in range(at, len(self._marks)):
            if self._marks[i].key == key:
                depth += 1 if self._marks[i].opens else -1
                if depth == 0:
                    return i
        return None


def _mark(found: re.Match[str]) -> _Mark:
    ticks = found["ticks"]
    if ticks:
        run = ticks.strip()
        return _Mark(found.start(), found.end(), run, True, len(run) >= 3)
    name = "!--" if found["comment"] or found["ends"] else found["name"].lower()
    return _Mark(found.start(), found.end(), name, not (found["closes"] or found["ends"]), name in _TO_THE_END)
