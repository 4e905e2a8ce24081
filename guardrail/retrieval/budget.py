"""Passages cut until a prompt with them fits."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace

from guardrail.types import Evidence

CUT = " […]"
"""How a passage ends that was cut."""


def fitted(evidence: Sequence[Evidence], fits: Callable[[Sequence[Evidence]], bool]) -> tuple[Evidence, ...]:
    """The passages, the longest of them cut after a whole word where they do not fit together.

    Args:
        evidence: Passages, best first.
        fits: Whether a prompt with these passages leaves room for an answer; true of none at all.

    Returns:
        As many characters of each as fit when all have the same limit; none where not even a word fits.
    """
    if fits(evidence):
        return tuple(evidence)
    low, high = 0, max(len(passage.text) for passage in evidence)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(_cut(evidence, middle)) else (low, middle)
    return _cut(evidence, low)


def _cut(evidence: Sequence[Evidence], limit: int) -> tuple[Evidence, ...]:
    texts = [_head(passage.text, limit) for passage in evidence]
    return tuple(replace(passage, text=text) for passage, text in zip(evidence, texts, strict=True) if text)


def _head(text: str, limit: int) -> str:
    """At most `limit` characters up to the end of a word, and the mark; a text without spaces is cut where it is."""
    if len(text) <= limit:
        return text
    head = text[:limit]
    if not text[limit].isspace() and (spaces := [match.start() for match in re.finditer(r"\s", head)]):
        head = head[: spaces[-1]]
    return head.rstrip() + CUT if head.strip() else ""
