"""Equivalence by sentence embeddings, the default: no network where the packaged embedding model is installed."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from langchain_core.embeddings import Embeddings

from guardrail.errors import ScoringError
from guardrail.model.token_log_probs import NotFiniteError
from guardrail.retrieval.embedding_spec import DEFAULT_EMBEDDING
from guardrail.scoring.baselines.equivalence import Comparison
from guardrail.segmentation import words_in

GIVEN = "given"
"""What embeddings are called that were given as an object, without a name: nobody can make them again from it."""
SAME = 0.7
"""Cosine from which on two answers count as equivalent. For all-MiniLM-L6-v2 and 300 bundled questions, with answers in one
word and in sentences: 94 % of 900 pairs that say the same reach it, and 1 % of 861 that do not; at 0.8 89 % and 0.3 %, at 0.6
95 % and 3 %. With the question's words left in, 81 % of the pairs of different sentences would reach 0.7."""


class EmbeddingEquivalence:
    """Equivalent where the cosine of the answers' unit vectors is `threshold` or more.

    similarity: the cosine, 0 where it is negative. squared distance: (1 - cosine) / 2, which is that of vectors of length
    1/2, the scale of Semantic Density. The words of the question are left out of both answers, since two sentences that
    repeat it are close whatever they say; where nothing would be left of one, both stay whole. A negation hardly moves a
    cosine: give an NLI model where answers may deny each other. Raises `ScoringError` for a threshold outside [-1, 1].
    """

    def __init__(self, embeddings: Embeddings, *, threshold: float = SAME, name: str = GIVEN) -> None:
        if not -1 <= threshold <= 1:
            raise ScoringError(f"the threshold of a cosine is {threshold}; it must be in [-1, 1]")
        self.embeddings, self.threshold, self.name = embeddings, threshold, name

    @property
    def options(self) -> dict[str, Any]:
        return {"kind": "embedding", "model": self.name, "threshold": self.threshold, "question": "left out"}

    def compare(self, question: str, left: Sequence[str], right: Sequence[str]) -> Comparison:
        pairs = [without_question(question, a, b) for a, b in zip(left, right, strict=True)]
        unique = list(dict.fromkeys(text for pair in pairs for text in pair))
        made = np.array(self.embeddings.embed_documents(unique), dtype=np.float64)  # (texts, D)
        if not np.isfinite(made).all():  # a cosine of infinity would be clipped to 1
            raise NotFiniteError("NaN or infinity in the embeddings of two answers")
        rows = dict(zip(unique, made, strict=True))
        cosine = np.array([rows[a] @ rows[b] for a, b in pairs], dtype=np.float64)
        return Comparison(cosine >= self.threshold, np.clip(cosine, 0, 1), np.clip((1 - cosine) / 2, 0, 1))


def without_question(question: str, left: str, right: str) -> tuple[str, str]:
    """Two texts without the words of the question; both as they are where nothing would be left of one."""
    asked = {word.casefold() for word in words_in(question)}
    rest = [[word for word in words_in(text) if word.casefold() not in asked] for text in (left, right)]
    return (" ".join(rest[0]), " ".join(rest[1])) if asked and all(rest) else (left, right)


@lru_cache(maxsize=1)
def default_equivalence() -> EmbeddingEquivalence:
    """all-MiniLM-L6-v2, loaded once a process. Raises `RetrievalError` where it cannot be loaded."""
    from guardrail.retrieval.embedding import SentenceEmbeddings  # imports sentence-transformers

    return EmbeddingEquivalence(SentenceEmbeddings(DEFAULT_EMBEDDING), name=DEFAULT_EMBEDDING)
