"""The default retriever: passages in an `InMemoryVectorStore`, found by cosine similarity.

Importing this file imports LangChain's vector stores; only `load_retriever` does, when it is called.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from langchain_core.vectorstores import InMemoryVectorStore
from pydantic import ConfigDict

from guardrail.retrieval.corpus import Corpus
from guardrail.retrieval.passages import Passage

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from langchain_core.callbacks import CallbackManagerForRetrieverRun
    from langchain_core.embeddings import Embeddings

_BATCH = 32


class PassageRetriever(BaseRetriever):
    """At most `k` passages, most similar first, none below `min_similarity`; metadata: `source`, `similarity`.

    counted_in: where the names of questions are counted; None is in the passages themselves.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    store: InMemoryVectorStore
    k: int
    min_similarity: float
    counted_in: Corpus | None = None

    @cached_property
    def corpus(self) -> Corpus:
        """What a policy's `rare` and `never_together` count in; indexed when they first ask."""
        own = (Passage(document["text"], "") for document in self.store.store.values())
        return Corpus.build(own) if self.counted_in is None else self.counted_in

    def _get_relevant_documents(self, query: str, *, run_manager: CallbackManagerForRetrieverRun) -> list[Document]:
        return [
            Document(page_content=document.page_content, metadata=document.metadata | {"similarity": similarity})
            for document, similarity in self.store.similarity_search_with_score(query, k=self.k)
            if similarity >= self.min_similarity
        ]


def build_index(
    passages: Sequence[Passage], embeddings: Embeddings, progress: Callable[[int, int], None]
) -> InMemoryVectorStore:
    """All passages embedded; `progress(done, total)` after each batch."""
    store = InMemoryVectorStore(embeddings)
    for start in range(0, len(passages), _BATCH):
        batch = passages[start : start + _BATCH]
        store.add_documents([Document(page_content=p.text, metadata={"source": p.source}) for p in batch])
        progress(start + len(batch), len(passages))
    return store
