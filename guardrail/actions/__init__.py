"""What is done about a decision: answer, hedge or abstain; and the answer rewritten from its claims.

Knows nothing about how it was decided.
Importing this package imports neither torch nor LangChain.
"""

from __future__ import annotations

import warnings
from importlib import import_module
from typing import TYPE_CHECKING, Any

from guardrail.actions.abstain import DEFAULT_ABSTAIN, abstain
from guardrail.actions.hedge import DEFAULT_HEDGE, hedge
from guardrail.actions.prose import DEFAULT_CLAIM_HEDGE
from guardrail.actions.rewrite import Rewritten, rewrite

if TYPE_CHECKING:
    from guardrail.types import Confidence, Decision

__all__ = [
    "DEFAULT_ABSTAIN",
    "DEFAULT_CLAIM_HEDGE",
    "DEFAULT_HEDGE",
    "Rewritten",
    "abstain",
    "hedge",
    "render",
    "rewrite",
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


_MOVED = {
    "DEFAULT_EMBEDDING",
    "MIN_SIMILARITY",
    "Retriever",
    "find_evidence",
    "load_retriever",
    "query_of",
    "with_evidence",
}


def __getattr__(name: str) -> Any:
    """Names that stand in guardrail.retrieval now; they go with guardrail/moved.py."""
    if name not in _MOVED:
        raise AttributeError(f"module 'guardrail.actions' has no attribute {name!r}")
    warnings.warn(f"guardrail.actions.{name} is guardrail.retrieval.{name} now", DeprecationWarning, stacklevel=2)
    return getattr(import_module("guardrail.retrieval"), name)
