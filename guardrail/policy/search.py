"""How much evidence is looked up, and in how many orders an answer is judged with it: of a whole policy, and of one rule."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from guardrail.policy.bounds import Mapping, wrong
from guardrail.types.names import MAX_PASSAGES

MAX_PASSES = 5
MAX_CLAIMS = 100
MAX_ORDERS = 8

Passages = Annotated[int, Field(ge=1, le=MAX_PASSAGES)]
Orders = Annotated[int, Field(ge=1, le=MAX_ORDERS)]


class Search(Mapping):
    """Of one rule: what is left out is as `retrieval` has it."""

    passages: Passages | None = None
    orders: Orders | None = None

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if not self.model_fields_set:
            raise wrong(f"is empty; it wants one of: {', '.join(self.keys())}")
        return self


class Retrieval(Mapping):
    """passages: for each search. max_passes: times one question is answered again. claims: searched for in one answer. orders:
    of several passages, in which an answer is judged, for `spread`.
    """

    passages: Passages = 3
    max_passes: Annotated[int, Field(ge=0, le=MAX_PASSES)] = 1
    claims: Annotated[int, Field(ge=0, le=MAX_CLAIMS)] = 8
    orders: Orders = 1

    def of(self, rule: Search | None) -> Retrieval:
        """The same for the search of one rule."""
        return self if rule is None else self.model_copy(update=rule.model_dump(exclude_none=True))
