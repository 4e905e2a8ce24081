"""The names of a question, counted in the corpus of the retriever, where a policy asks how rare they are."""

from __future__ import annotations

from guardrail.errors import RetrievalError
from guardrail.policy import Policy
from guardrail.retrieval import Retriever
from guardrail.retrieval.corpus import Corpus
from guardrail.types import NameCounts


def counted_names(policy: Policy, retriever: Retriever | None, question: str) -> NameCounts | None:
    """None where no rule asks, and without a retriever: the rules are then unknown.

    Raises `RetrievalError` for a retriever that has no corpus: a rule that can never match would look like one that does not.
    """
    if retriever is None or not policy.looks_at_names:
        return None
    corpus = getattr(retriever, "corpus", None)
    if not isinstance(corpus, Corpus):
        raise RetrievalError(
            f"policy {policy.name!r} asks how rare the names of a question are, and the retriever {type(retriever).__name__} "
            "has no corpus to count in; give it an attribute `corpus` (Corpus.load), or take one of load_retriever"
        )
    return corpus.counts(question)
