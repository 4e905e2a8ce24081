"""What is done about a decision: answer, hedge, abstain, retrieve; and the answer rewritten from its claims.

Knows nothing about how it was decided.
Importing this package imports neither torch nor LangChain.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from guardrail.actions.abstain import DEFAULT_ABSTAIN, abstain
from guardrail.actions.embedding_spec import DEFAULT_EMBEDDING
from guardrail.actions.hedge import DEFAULT_HEDGE, hedge
from guardrail.actions.prose import DEFAULT_CLAIM_HEDGE
from guardrail.actions.retrieve import (
    MIN_SIMILARITY,
    Retriever,
    find_evidence,
    load_retriever,
    query_of,
    with_evidence,
)
from guardrail.actions.rewrite import Rewritten, rewrite

if TYPE_CHECKING:
    from guardrail.types import Confidence, Decision

__all__ = [
    "DEFAULT_ABSTAIN",
    "DEFAULT_CLAIM_HEDGE",
    "DEFAULT_EMBEDDING",
    "DEFAULT_HEDGE",
    "MIN_SIMILARITY",
    "Retriever",
    "Rewritten",
    "abstain",
    "find_evidence",
    "hedge",
    "load_retriever",
    "query_of",
    "render",
    "rewrite",
    "with_evidence",
]


def render(decision: Decision, answer: str, confidence: Confidence) -> str:
    """What the user is shown: the answer as it is, hedged, or a message in its place.

    Raises ValueError for `retrieve`: that is a step on the way, and the caller has to decide again after it.
    """
    match decision.action:
        case "answer":
            return answer
        case "hedge":
            return hedge(decision, answer, confidence)
        case "abstain":
            return abstain(decision, answer, confidence)
        case "retrieve":
            raise ValueError(f"rule {decision.rule!r} says retrieve, which cannot be shown; retrieve and decide again")
