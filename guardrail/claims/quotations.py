"""Quotation marks of all scripts: a full stop inside them ends no sentence of the text around them.

sentencex knows “ ”, « », ‹ ›, „ “, » « and 「 」 but neither the other pairs below nor that 「…。」と goes on.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

_PAIRS = {
    "「": "」",
    "『": "』",
    "《": "》",
    "〈": "〉",
    "【": "】",
    "〔": "〕",
    "｢": "｣",
    "﹁": "﹂",
    "﹃": "﹄",
    "〝": "〞",
}
_OPENING = {closing: opening for opening, closing in _PAIRS.items()}
_MARKS = re.compile(f"[{''.join([*_PAIRS, *_OPENING])}]")
# What closes what, the last one opened first: „Dutch, Polish”, ”Swedish, Hebrew”, »Finnish», ‚German‘, ״Hebrew״.
_CLOSES = {"”": "“„”", "“": "„", "»": "«»", "«": "»", "‘": "‚", "’": "‚", "״": "״"}
_KNOWN = frozenset(("“”", "„“", "«»", "»«"))  # to sentencex
_OPENS = frozenset("“„«‚")  # wherever it stands; ”, » and ״ open only before a word and not behind one
_LATIN_MARKS = re.compile("[“”„«»‚‘’״]")
_NEW_SENTENCE = re.compile(r"\s+(?=\S)")
_STOPS = "。．！？!?…"
_LONGEST = 1000  # characters: behind more of them, a mark that closes was not meant for the one that opened
# Particles that carry a sentence on behind a quotation, and not the words that only begin like them.
_PARTICLE = re.compile(r"と(?!ころ|ても|にかく|りあえず|もかく|き)|って|は(?!い)|[をがの]")
_CLOSING = frozenset("」』”｣﹂﹄〞〟")  # marks of speech; the others hold titles and remarks, which end no sentence


def around_quotations(text: str, ends: Iterable[int]) -> Iterator[int]:
    """Ends of sentences without those inside a quotation, and with one behind a quotation that closes a sentence.

    Args:
        text: Any text.
        ends: Positions in it, rising; the last is the text's end.

    Yields:
        Positions, rising.
    """
    found = list(ends)
    inside = bytearray(len(text) + 1)
    closed: set[int] = set()
    for start, end in _quotations(text):
        inside[start + 1 : end] = b"\1" * (end - start - 1)
        if text[end - 2] in _STOPS and text[end - 1] in _CLOSING:
            closed.add(end)
    for start, end in _latin_quotations(text):
        inside[start + 1 : end] = b"\1" * (end - start - 1)
        begins = _NEW_SENTENCE.match(text, end)
        if text[end - 2] in f".{_STOPS}" and begins and not text[begins.end()].islower():
            closed.add(end)
    for end in sorted(closed.union(found)) if closed else found:
        if end == len(text) or not (inside[end] or (text[end - 1] in _CLOSING and _PARTICLE.match(text, end))):
            yield end


def _quotations(text: str) -> Iterator[tuple[int, int]]:
    """Where a quotation stands with its marks, if it is closed."""
    opened: dict[str, list[int]] = {opening: [] for opening in _PAIRS}
    for match in _MARKS.finditer(text.replace("〟", "〞")):  # a mark closes low or high
        if (mark := match[0]) in opened:
            opened[mark].append(match.start())
        elif places := opened[_OPENING[mark]]:
            start = places.pop()
            if match.end() - start <= _LONGEST:
                yield start, match.end()


def _latin_quotations(text: str) -> Iterator[tuple[int, int]]:
    """Where a quotation stands whose marks sentencex does not pair, if it is closed."""
    opened: list[tuple[str, int]] = []
    for match in _LATIN_MARKS.finditer(text):
        mark, at = match[0], match.start()
        behind_a_word = at > 0 and not text[at - 1].isspace() and text[at - 1] not in "([{"
        before_a_word = at + 1 < len(text) and not text[at + 1].isspace()
        closes = _CLOSES.get(mark, "")
        if closes and mark in closes and behind_a_word == before_a_word:
            closes = closes.replace(mark, "")  # ארה״ב, or a mark that stands alone
        place = next((i for i in reversed(range(max(len(opened) - 8, 0), len(opened))) if opened[i][0] in closes), None)
        if place is not None and (mark not in closes or behind_a_word):
            opening, start = opened[place]
            del opened[place:]
            if f"{opening}{mark}" not in _KNOWN and match.end() - start <= _LONGEST:
                yield start, match.end()
        elif mark in _OPENS or (mark in "”»״" and before_a_word and not behind_a_word):
            opened.append((mark, at))
