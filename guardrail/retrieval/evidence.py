"""Evidence for a question: loads the default retriever and asks any retriever.

Knows nothing about models, policies or when to retrieve. Torch and LangChain are imported by `load_retriever` only.
"""

from __future__ import annotations

import asyncio
import inspect
import math
from collections.abc import Iterable, Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any, Protocol

from guardrail.errors import RetrievalError
from guardrail.retrieval.corpus import Corpus
from guardrail.retrieval.embedding_spec import DEFAULT_EMBEDDING
from guardrail.retrieval.passages import read_passages
from guardrail.types import Evidence
from guardrail.types.names import MAX_PASSAGES
from guardrail.waiting import OverdueError, aovertaken, within

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterator, Sequence

    from langchain_core.retrievers import BaseRetriever

MIN_SIMILARITY = 0.3
"""Cosine below which the default retriever returns nothing.

Measured with all-MiniLM-L6-v2 on 50 questions over 16 passages of one sentence to a paragraph. The right passage: 0.52
to 0.84 for single sentences, 0.29 to 0.65 for paragraphs, 27 of 28 at 0.3 or more. Questions on a topic that no passage
is about: at most 0.23. But those that ask the same thing about something else (the currency of Peru, over a passage on
that of Japan) reach 0.51: no threshold separates them, so a passage is reference text and never proof.
"""


MOST_READ = 1_000
"""Documents of one search that are looked at: a retriever may give its whole index, or never stop."""


class Retriever(Protocol):
    """Any LangChain `BaseRetriever`, or whatever has its `invoke`; an `async def invoke` will do."""

    def invoke(self, query: str, /) -> Sequence[Any]:
        """Documents for a query, best first: objects with `page_content` and `metadata`."""
        ...


def load_retriever(
    path: str | os.PathLike[str],
    k: int = MAX_PASSAGES,
    *,
    embedding: str = DEFAULT_EMBEDDING,
    min_similarity: float = MIN_SIMILARITY,
    device: str = "cpu",
    corpus: str | os.PathLike[str] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> BaseRetriever:
    """A retriever over a folder of .txt and .md files, one such file, or a .jsonl file of `id`, `title`, `text`.

    Args:
        path: The folder or the file.
        k: The most passages that one search returns; `find_evidence` cuts further.
        embedding: The embedding model: an alias, a folder or a hub id.
        min_similarity: Passages whose cosine to the query is lower are not returned.
        device: Where the embedding model runs, such as "cpu" or "cuda".
        corpus: Where a policy's `rare` and `never_together` count the names of a question (`Corpus.load`); None is in the
            passages.
        progress: Called with the passages embedded so far and in all, first with 0 before the embedding model loads (some
            seconds).

    Returns:
        A LangChain retriever.

    Raises:
        RetrievalError: The files or the embedding model cannot be read.
    """
    report = progress or (lambda done, total: None)
    passages = read_passages(path)
    counted_in = None if corpus is None else Corpus.load(corpus)
    report(0, len(passages))

    from guardrail.retrieval.embedding import SentenceEmbeddings
    from guardrail.retrieval.passage_index import PassageRetriever, build_index

    store = build_index(passages, SentenceEmbeddings(embedding, device), report)
    return PassageRetriever(store=store, k=k, min_similarity=min_similarity, counted_in=counted_in)


def find_evidence(retriever: Retriever, query: str, k: int, *, seconds: float | None = None) -> tuple[Evidence, ...]:
    """At most `k` passages for a query, best first; none for a blank query.

    Args:
        retriever: Is asked in a thread of its own where there is a limit.
        query: What to search for.
        k: The most passages that are handed on; of what the retriever gives, at most `MOST_READ` documents are read.
        seconds: How long to wait. An async search is cancelled then; a thread cannot be ended, it is left behind.

    Returns:
        `similarity` is `metadata["similarity"]` where a retriever sets it, as the default one does; a `score` of unknown
        scale is not taken for one, nor is what is no cosine.

    Raises:
        RetrievalError: For whatever goes wrong in the retriever, with the cause.
    """
    if not query.strip():
        return ()
    name = type(retriever).__name__
    try:
        found = within(seconds, lambda: _search(retriever, query, k, seconds))
    except OverdueError as error:
        raise overran(retriever, error) from error
    except Exception as error:  # a foreign retriever may raise anything: network, database, its own classes
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise RetrievalError(f"the retriever {name} failed: {reason}") from error
    return tuple(found)


def overran(retriever: object, error: OverdueError) -> RetrievalError:
    """The error of a retriever that did not answer in time."""
    return RetrievalError(
        f"the retriever {type(retriever).__name__} {error}; the limit is the policy's limits.retriever"
    )


def _search(retriever: Retriever, query: str, k: int, seconds: float | None) -> list[Evidence]:
    documents: Any = retriever.invoke(query)
    if inspect.isawaitable(documents):
        documents = asyncio.run(aovertaken(seconds, documents))
    passages = (evidence for _, evidence in _read(documents) if evidence.text)
    return list(islice(passages, k))


def documents_of(retriever: object, found: Any) -> list[Any]:
    """The documents that a retriever gave, as they are; at most `MOST_READ` of them.

    Args:
        retriever: For the error's text.
        found: What it gave.

    Raises:
        RetrievalError: It is no list of documents, or one of them has no text.
    """
    try:
        return [document for document, _ in _read(found)]
    except (TypeError, AttributeError) as error:
        raise RetrievalError(f"the retriever {type(retriever).__name__} failed: {error}") from error


def _read(documents: Any) -> Iterator[tuple[Any, Evidence]]:
    """Documents, checked, with what they say."""
    if not isinstance(documents, Iterable) or isinstance(documents, (str, bytes, Mapping)):
        raise TypeError(f"it gave {type(documents).__name__}, not a list of documents")
    for document in islice(documents, MOST_READ):
        yield document, _evidence(document)


def _evidence(document: Any) -> Evidence:
    text, metadata = document.page_content, document.metadata or {}
    if not isinstance(text, str):
        raise TypeError(f"the text of a document is {type(text).__name__}, not str")
    if not isinstance(metadata, Mapping):
        raise TypeError(f"the metadata of a document are {type(metadata).__name__}, not a mapping")
    return Evidence(
        text=text.strip(),
        source=str(metadata.get("source") or getattr(document, "id", None) or ""),
        similarity=_cosine(metadata.get("similarity")),
    )


def _cosine(value: Any) -> float | None:
    """A cosine, up to rounding; None for what is none."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        return None
    return float(value) if abs(value) <= 1.001 else None
