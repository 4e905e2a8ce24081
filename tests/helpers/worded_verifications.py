"""An embedding of whole words, so that similarities can be worked out by hand, and short ways to write values."""

from __future__ import annotations

import math
import re

from langchain_core.embeddings import Embeddings

from guardrail.types import Claim, Evidence
from guardrail.verification import PremiseFinder


class WordEmbeddings(Embeddings):
    """Unit vectors over the words seen so far: the cosine is the share of common words. Counts the texts it embeds."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        self.texts += texts
        words = [set(re.findall(r"\w+", t.lower())) for t in texts]
        everything = sorted(set().union(*words))
        return [[(w in ws) / math.sqrt(len(ws) or 1) for w in everything] for ws in words]

    def embed_query(self, text: str) -> list[float]:
        return self.embed_documents([text])[0]


def finder(**options: float) -> PremiseFinder:
    return PremiseFinder(WordEmbeddings(), **options)


def claim(text: str, kind: str = "sentence") -> Claim:
    return Claim(text, 0, len(text), kind)


def passage(text: str, source: str = "notes.txt") -> Evidence:
    return Evidence(text, source, None)
