"""What a guarded chat model is built of, once, however many copies of it LangChain makes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cached_property
from typing import Any
from uuid import uuid4

from guardrail.guard import Guard
from guardrail.langchain.turns import ModelQueue, SideBySide
from guardrail.model.identity import text_hash
from guardrail.scoring.registry import follows_from_pass


class SharedGuard:
    """A Guard, the threads in which its async calls take turns, and what caches know it by.

    given: the fields that the guard was made of, by name. A chat model with equal ones shares all of this.
    """

    def __init__(self, guard: Guard, given: Mapping[str, Any]) -> None:
        self.guard, self.given = guard, dict(given)
        self.turns = ModelQueue() if guard.model.has_weights else SideBySide()

    def is_made_of(self, given: Mapping[str, Any]) -> bool:
        return all(_same(given[name], self.given[name]) for name in self.given)

    @cached_property
    def identity(self) -> dict[str, Any]:
        """Everything about the guard that changes an answer or its verdict, JSON-ready.

        A retriever does not say what it finds, and a foreign scorer need not say what it does: where there is one, nothing is
        equal but this very guard.
        """
        return _identity(self.guard)


def _identity(guard: Guard) -> dict[str, Any]:
    calibrator = guard.calibrator
    foreign = guard.retriever is not None or not follows_from_pass(guard.scorer)
    return {
        "model_name": guard.model.name,
        "model_weights": guard.model.identity.weights,
        "chat_template": guard.model.identity.chat_template,
        "end_ids": guard.model.identity.end_ids,
        "policy": text_hash(repr(guard.policy)),
        "calibrator": None if calibrator is None else calibrator.digest,
        "scorer": guard.scorer.name,
        "scorer_options": text_hash(json.dumps(guard.scorer.options, sort_keys=True, default=str)),
        "claims": None if guard.claim_pipeline is None else guard.claim_pipeline.identity,
        "retriever": None if guard.retriever is None else type(guard.retriever).__name__,
        "guard": uuid4().hex if foreign else None,
        **({} if guard.escalate_to is None else {"escalate_to": _identity(guard.escalate_to)}),
    }


def _same(one: Any, other: Any) -> bool:
    """Equality only of what cannot change: two retrievers that compare equal may find different things tomorrow."""
    plain = isinstance(one, (str, tuple)) and type(one) is type(other)
    return one is other or (plain and bool(one == other))
