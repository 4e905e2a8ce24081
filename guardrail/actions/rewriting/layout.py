"""Blocks that go, taken out of the lines they stand on: what is left stays valid Markdown.

Numbers of ordered lists close ranks, sublists of an item that lost its text move up, and between two neighbours stands the
widest of the gaps that stood between them.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from guardrail.claims.markdown import Block, BlockKind, Page

_INDENT = re.compile(r"[ \t>]*")
_NUMBER = re.compile(r"([ \t>]*)(\d{1,9})(?=[.)])")


class Edit(NamedTuple):
    """`answer[start:end]` becomes `text`; edits do not overlap."""

    start: int
    end: int
    text: str


def layout_edits(page: Page, gone: Collection[int]) -> list[Edit]:
    """Edits that take the gone blocks (their ids) out; what stands in blocks that stay is not touched."""
    edits: list[Edit] = []
    dedents: Counter[int] = Counter()
    removed = {line for leaf in page.root.leaves() if id(leaf) in gone for line in range(leaf.first, leaf.last)}
    for block in page.root.blocks():
        if id(block) in gone:
            continue
        if block.kind == "item":
            _close_item(page, block, gone, removed, edits, dedents)
    for block in page.root.blocks():
        if block.kind in ("document", "quote", "item") and id(block) not in gone:
            for lists in _runs_of_lists(block, gone, removed):
                _renumber(page, lists, gone, removed, edits, dedents)
    for line, width in dedents.items():
        indent = _indent(page, line)
        width = min(width, len(indent) - len(indent.rstrip(" ")))
        at = page.lines[line] + len(indent)
        if line not in removed and width and page.line(line).strip(" \t>\r\n"):
            edits.append(Edit(at - max(width, 0), at, " " * -width))
    return edits + list(_remove_lines(page, removed))


def _indent(page: Page, line: int) -> str:
    found = _INDENT.match(page.line(line))
    return found.group() if found else ""


def _close_item(
    page: Page,
    item: Block,
    gone: Collection[int],
    removed: set[int],
    edits: list[Edit],
    dedents: Counter[int],
) -> None:
    """An item that lost what stood beside its marker: the next block takes its place, or a sublist moves up."""
    if not item.children or id(item.children[0]) not in gone:
        return
    first = next(child for child in item.children if id(child) not in gone)
    indent = len(_indent(page, first.first))
    if first.kind == "list":
        width = indent - len(_indent(page, item.first))
        dedents.update(dict.fromkeys(range(first.first, item.last), width))
        return
    removed.difference_update(range(item.first, first.first))
    edits.append(Edit(item.children[0].start, page.lines[first.first] + indent, ""))


def _runs_of_lists(parent: Block, gone: Collection[int], removed: Collection[int]) -> Iterable[list[Block]]:
    """Lists that are one list to Markdown when what stood between them goes. A list that moves up belongs to the outer one."""
    run: list[Block] = []
    for i, child in enumerate(parent.children):
        moves_up = parent.kind == "item" and parent.first in removed
        if child.kind == "list" and id(child) not in gone and not moves_up:
            joins = (
                bool(run) and i > 0 and id(parent.children[i - 1]) in gone and _numbered(run[-1]) == _numbered(child)
            )
            if run and not joins:
                yield run
                run = []
            run.append(child)
        elif id(child) not in gone:
            yield run
            run = []
    yield run


def _numbered(block: Block) -> bool:
    return bool(block.children) and block.children[0].number is not None


def _items(block: Block, gone: Collection[int], removed: Collection[int]) -> Iterable[Block]:
    """The items that keep a marker at this level, those of sublists that move up among them."""
    for item in block.children:
        if item.first not in removed:
            yield item
        elif id(item) not in gone:
            for child in item.children:
                if child.kind == "list" and id(child) not in gone:
                    yield from _items(child, gone, removed)


def _renumber(
    page: Page,
    lists: Sequence[Block],
    gone: Collection[int],
    removed: Collection[int],
    edits: list[Edit],
    dedents: Counter[int],
) -> None:
    numbers = [item.number for item in lists[0].children] if lists else [None]
    left = [item for block in lists for item in _items(block, gone, removed)]
    changed = len(lists) > 1 or any(item.first in removed for block in lists for item in block.children)
    if not changed or numbers[0] is None or len(set(numbers[:2])) == 1 < len(numbers):  # "1." throughout stays so
        return
    number = numbers[0]
    for item in left:
        found = _NUMBER.match(page.line(item.first))
        if item.number is None or not found:
            continue
        if int(found.group(2)) != number:
            start = page.lines[item.first] + found.end(1)
            edits.append(Edit(start, start + len(found.group(2)), str(number)))
            dedents.update(dict.fromkeys(range(item.first + 1, item.last), len(found.group(2)) - len(str(number))))
        number += 1


def _remove_lines(page: Page, removed: Collection[int]) -> Iterable[Edit]:
    blank = [not page.line(i).strip(" \t>\r\n") for i in range(page.count)]
    code = {i for leaf in page.root.leaves() if leaf.kind == "code" for i in range(leaf.first, leaf.last)} - {*removed}
    kinds = {line: block.kind for block in page.root.children for line in range(block.first, block.last)}
    loose = [i in removed or (blank[i] and i not in code) for i in range(page.count)]
    i = 0
    while i < page.count:
        if not loose[i]:
            i += 1
            continue
        j = i
        while j < page.count and loose[j]:
            j += 1
        if any(line in removed for line in range(i, j)):
            yield _close_gap(page, i, j, removed, kinds)
        i = j


def _close_gap(page: Page, i: int, j: int, removed: Collection[int], kinds: Mapping[int, BlockKind]) -> Edit:
    """Lines i to j (excluded) are removed or blank, and a line that stays is on either side, or an end of the answer."""
    start, end = page.lines[i], page.lines[j]
    if j == page.count:
        kept = page.answer[:start].rstrip()
        return Edit(len(kept), end, page.answer[len(page.answer.rstrip()) :])
    if i == 0:
        return Edit(start, end, "")
    runs: list[list[int]] = [[]]
    for line in range(i, j):
        if line in removed:
            runs.append([])
        else:
            runs[-1].append(line)
    widest = max(runs, key=lambda run: (len(run), -sum(page.line(line).count(">") for line in run)))
    text = "".join(page.line(line) for line in widest)
    # a list without empty lines around it stood between two paragraphs, which would now run into one
    between_paragraphs = kinds.get(i - 1) == kinds.get(j) == "paragraph"
    return Edit(start, end, text or "\n" * between_paragraphs)
