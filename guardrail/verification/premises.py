"""Passages -> for each claim the piece of each passage that speaks of it. Knows nothing about right and wrong.

A passage is read in pieces of at most 800 characters, which keep the headings they stand under; the piece that is taken holds
the sentence whose embedding is most similar to the claim's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from sentencex import segment

from guardrail.retrieval.embedding_spec import DEFAULT_EMBEDDING
from guardrail.retrieval.passages import split
from guardrail.retrieval.vectors import embedded
from guardrail.verification.search import query_for

if TYPE_CHECKING:
    from langchain_core.embeddings import Embeddings

    from guardrail.types import Claim, Evidence

MIN_SIMILARITY = 0.3
MAX_SENTENCES = 200


@dataclass(frozen=True, slots=True)
class Premise:
    """What a claim is held against. evidence: the passage's place among the claim's passages. sentence: the part of `text`, a
    piece of the passage, that is nearest to the claim. similarity: their cosine."""

    evidence: int
    text: str
    sentence: str
    similarity: float


class PremiseFinder:
    """Finds premises by sentence embeddings.

    embeddings: a LangChain `Embeddings` with unit vectors, or the name of a model (alias, folder or hub id), which loads at the
    first use. min_similarity: cosine below which a passage says nothing about a claim. max_sentences: of one passage; what
    stands behind them is not read.
    """

    def __init__(
        self,
        embeddings: Embeddings | str = DEFAULT_EMBEDDING,
        *,
        min_similarity: float = MIN_SIMILARITY,
        max_sentences: int = MAX_SENTENCES,
    ) -> None:
        self._embeddings = embeddings
        self.min_similarity = min_similarity
        self.max_sentences = max_sentences

    def find(
        self, claims: Sequence[Claim], evidence: Sequence[Sequence[Evidence]], question: str
    ) -> list[list[Premise]]:
        """For each claim at most one premise a passage, most similar first; none below the bound.

        Every different text is embedded once, all in one batch. Raises `RetrievalError` where the embedding model cannot be
        loaded, or gives what is no vector.
        """
        texts = {passage.text for passages in evidence for passage in passages}
        read = {text: list(islice(_sentences(text), self.max_sentences)) for text in texts}
        queries = [query_for(claim, question) for claim in claims]
        needed = [q for q, passages in zip(queries, evidence, strict=True) if q and any(read[p.text] for p in passages)]
        if not needed:
            return [[] for _ in claims]
        vectors = self._embed([*needed, *(sentence for pairs in read.values() for _, sentence in pairs)])
        return [
            sorted(self._premises(vectors, query, [read[p.text] for p in passages]), key=lambda p: -p.similarity)
            for query, passages in zip(queries, evidence, strict=True)
        ]

    def _premises(
        self, vectors: dict[str, list[float]], query: str, passages: Sequence[Sequence[tuple[str, str]]]
    ) -> list[Premise]:
        found = []
        for i, pairs in enumerate(passages if query else ()):
            cosines = [(_cosine(vectors[query], vectors[sentence]), piece, sentence) for piece, sentence in pairs]
            best = max(cosines, key=lambda c: c[0], default=None)
            if best is not None and best[0] >= self.min_similarity:
                found.append(Premise(i, best[1], best[2], best[0]))
        return found

    def _embed(self, texts: Sequence[str]) -> dict[str, list[float]]:
        if isinstance(self._embeddings, str):
            from guardrail.retrieval.embedding import SentenceEmbeddings

            self._embeddings = SentenceEmbeddings(self._embeddings)
        return embedded(self._embeddings, texts)


def _sentences(text: str) -> list[tuple[str, str]]:
    """(piece, sentence) pairs in the order of the text; a heading alone is no sentence."""
    pairs = []
    for piece in split(text.encode("utf-8", "replace").decode("utf-8")):
        heading, _, body = piece.rpartition("\n") if "\n" in piece else ("", "", piece)
        pairs += [(piece, s.strip()) for s in segment("en", body or heading) if any(c.isalnum() for c in s)]
    return pairs


def _cosine(a: Sequence[float], b: Sequence[float]) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True))
