"""What is done about a decision: answer, hedge, abstain or ask back; and the answer rewritten from its claims.

Importing this package imports neither torch nor LangChain.
"""

from __future__ import annotations

import warnings
from importlib import import_module
from typing import Any

from guardrail.actions.rewriting import Rewritten, rewrite
from guardrail.actions.wording import (
    DEFAULT_ABSTAIN,
    DEFAULT_CLAIM_HEDGE,
    DEFAULT_HEDGE,
    abstain,
    ask_back,
    hedge,
    render,
)
from guardrail.types.names import DEFAULT_ASK_BACK

__all__ = [
    "DEFAULT_ABSTAIN",
    "DEFAULT_ASK_BACK",
    "DEFAULT_CLAIM_HEDGE",
    "DEFAULT_HEDGE",
    "Rewritten",
    "abstain",
    "ask_back",
    "hedge",
    "render",
    "rewrite",
]


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
