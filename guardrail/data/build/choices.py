"""Choices that look random and never change: made by hashes of names, so two builds give the same bytes."""

from __future__ import annotations

import hashlib


def stable_hash(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest(), "big")


def chosen(text: str, share: int) -> bool:
    return stable_hash(text) % 100 < share


def pick(key: str, options: tuple[str, ...]) -> str:
    """One of the options, always the same for one key."""
    return options[stable_hash(f"pick:{key}") % len(options)]
