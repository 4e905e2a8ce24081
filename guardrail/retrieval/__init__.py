"""Passages for a question: folders and files as an index, sentence embeddings, and evidence put into a prompt.

Importing this package imports neither torch nor LangChain.
"""

from guardrail.retrieval.embedding_spec import DEFAULT_EMBEDDING
from guardrail.retrieval.evidence import (
    MIN_SIMILARITY,
    Retriever,
    find_evidence,
    load_retriever,
)
from guardrail.retrieval.references import query_of, reference_text, with_evidence, without_evidence

__all__ = [
    "DEFAULT_EMBEDDING",
    "MIN_SIMILARITY",
    "Retriever",
    "find_evidence",
    "load_retriever",
    "query_of",
    "reference_text",
    "with_evidence",
    "without_evidence",
]
