"""Equivalence by sentence embeddings, the default: no network where the packaged embedding model is installed."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from langchain_core.embeddings import Embeddings

from guardrail.actions.embedding_spec import DEFAULT_EMBEDDING
from guardrail.errors import ScoringError
from guardrail.scoring.baselines.equivalence import Comparison

SAME = 0.7
"""Cosine from which on two answers count as equivalent. For all-MiniLM-L6-v2 and the answers to the bundled questions, 87 % of
800 pairs of accepted wordings of one answer reach it, and 4 % of 4,139 pairs of different answers of one kind; at 0.8 these
are 65 % and 1 %, at 0.6 92 % and 11 %."""


class EmbeddingEquivalence:
    """Equivalent where the cosine of the answers' unit vectors is `threshold` or more.

    similarity: the cosine, 0 where it is negative. squared distance: (1 - cosine) / 2, which is that of vectors of length
    1/2, the scale of Semantic Density. The answers are compared as they stand, without the question, whose words they would
    otherwise share. A negation hardly moves a cosine: give an NLI model where answers may deny each other.
    """

    def __init__(self, embeddings: Embeddings, *, threshold: float = SAME, name: str = "given") -> None:
        if not -1 <= threshold <= 1:
            raise ScoringError(f"the threshold of a cosine is {threshold}; it must be in [-1, 1]")
        self.embeddings, self.threshold, self.name = embeddings, threshold, name

    @property
    def options(self) -> dict[str, Any]:
        return {"kind": "embedding", "model": self.name, "threshold": self.threshold}

    def compare(self, question: str, left: Sequence[str], right: Sequence[str]) -> Comparison:
        unique = list(dict.fromkeys([*left, *right]))
        rows = dict(zip(unique, np.array(self.embeddings.embed_documents(unique), dtype=np.float64), strict=True))
        cosine = np.array([rows[a] @ rows[b] for a, b in zip(left, right, strict=True)], dtype=np.float64)
        return Comparison(cosine >= self.threshold, np.clip(cosine, 0, 1), np.clip((1 - cosine) / 2, 0, 1))


@lru_cache(maxsize=1)
def default_equivalence() -> EmbeddingEquivalence:
    """all-MiniLM-L6-v2, loaded once a process. Raises `RetrievalError` where it cannot be loaded."""
    from guardrail.actions.embedding import SentenceEmbeddings  # imports sentence-transformers

    return EmbeddingEquivalence(SentenceEmbeddings(DEFAULT_EMBEDDING), name=DEFAULT_EMBEDDING)
