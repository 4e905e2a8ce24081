"""One string names the embedding model; a LangChain `Embeddings` over sentence-transformers computes the vectors.

Importing this file imports torch; only `load_retriever` does, when it is called. Knows nothing about passages.
"""

from __future__ import annotations

import math
from contextlib import contextmanager
from typing import TYPE_CHECKING

from langchain_core.embeddings import Embeddings
from sentence_transformers import SentenceTransformer
from transformers.utils import logging as transformers_logging

from guardrail.errors import ModelError, RetrievalError
from guardrail.kernels.memory import halve_on_out_of_memory
from guardrail.model.checkpoint import require_reachable, require_whole_transformer, safe_weights, with_remedy
from guardrail.retrieval.embedding_spec import DEFAULT_EMBEDDING, resolve

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


class SentenceEmbeddings(Embeddings):
    """Unit vectors, so that a dot product is the cosine. Raises `RetrievalError` when the model cannot be loaded.

    local: take a model of the hub only if it is on this machine already.
    """

    def __init__(self, spec: str, device: str = "cpu", *, local: bool = False) -> None:
        try:
            location = resolve(spec)
            if not local:
                require_reachable(location)
            with _no_progress_bar():
                self._model = SentenceTransformer(
                    location,
                    device=device,
                    local_files_only=local,
                    model_kwargs={**safe_weights(), "ignore_mismatched_sizes": True},
                )
                require_whole_transformer(spec, self._model)
        except (OSError, ValueError, RuntimeError, ModelError) as error:
            reason = str(error).strip().split("\n")[0]
            raise RetrievalError(
                f"cannot load the embedding model {spec!r} (a folder, a hub id or {DEFAULT_EMBEDDING!r}): {with_remedy(reason)}"
            ) from error

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """Raises `RetrievalError` where a vector is not finite, or a single text runs out of memory."""
        return halve_on_out_of_memory(self._embed, texts, _too_big) if texts else []

    def _embed(self, texts: Sequence[str]) -> list[list[float]]:
        vectors = self._model.encode(list(texts), normalize_embeddings=True, show_progress_bar=False)  # (N, D)
        rows = [[float(x) for x in vector] for vector in vectors]
        if not all(math.isfinite(x) for row in rows for x in row):
            raise RetrievalError(
                "the embedding model gave NaN or infinity: its weights are damaged; get its files again"
            )
        return rows

    def embed_query(self, text: str) -> list[float]:
        return self.embed_documents([text])[0]


def _too_big(text: str) -> RetrievalError:
    return RetrievalError(
        f"embedding one text of {len(text)} characters ran out of memory; shorten it, or use a device with more memory"
    )


@contextmanager
def _no_progress_bar() -> Iterator[None]:
    """transformers draws a bar for the 0.1 s in which the weights are read; the caller's setting is put back."""
    shown = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            transformers_logging.enable_progress_bar()
