"""Bounds on a number, as a policy file writes them, and what every mapping of the file has in common.

Knows nothing about what the numbers are bounds of, beyond their range.
"""

from __future__ import annotations

import math
from typing import Annotated, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

Probability = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
_BOUNDS = ("at_least", "above", "at_most", "below")
Whole = Annotated[int, Field(ge=0)]


def wrong(message: str) -> PydanticCustomError:
    """An error whose text is ours, the end of a sentence that starts with the place."""
    return PydanticCustomError("policy", "{message}", {"message": message})


def one_line(value: object) -> object:
    """Names and reasons end up in explanations, and those are one line."""
    return " ".join(value.split()) if isinstance(value, str) else value


Line = Annotated[str, BeforeValidator(one_line)]


class Mapping(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    @classmethod
    def keys(cls) -> tuple[str, ...]:
        """The keys as a file spells them."""
        return tuple(field.alias or name for name, field in cls.model_fields.items())


class Bounds(Mapping):
    """At most one lower and one upper bound on a number; together they must leave something."""

    at_least: float | None = None
    above: float | None = None
    at_most: float | None = None
    below: float | None = None

    def interval(self) -> tuple[tuple[float, bool], tuple[float, bool]]:
        """(lowest value, is it excluded), (highest value, is it included): both compare as tuples."""
        low = (self.above, True) if self.above is not None else (self.at_least or 0.0, False)
        if self.below is not None:
            return low, (self.below, False)
        return low, (self.largest() if self.at_most is None else self.at_most, True)

    @classmethod
    def largest(cls) -> float:
        return math.inf

    def covers(self, other: Bounds) -> bool:
        """Whether every number within `other` lies within this one too."""
        (low, high), (other_low, other_high) = self.interval(), other.interval()
        return low <= other_low and high >= other_high

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if not self.model_fields_set:
            raise wrong(f"is empty; it wants one of: {', '.join(_BOUNDS)}")
        for one, other in (("at_least", "above"), ("at_most", "below")):
            if getattr(self, one) is not None and getattr(self, other) is not None:
                raise wrong(f"has both {one} and {other}; keep one of them")
        (low, excluded), (high, included) = self.interval()
        if low > high or (low == high and (excluded or not included)):
            given = " and ".join(f"{key} {getattr(self, key)}" for key in _BOUNDS if key in self.model_fields_set)
            raise wrong(f"can never hold: no value is {given}")
        return self


class ConfidenceBounds(Bounds):
    """On the calibrated probability that the answer, or the claim, is right, in [0, 1]."""

    at_least: Probability | None = None
    above: Probability | None = None
    at_most: Probability | None = None
    below: Probability | None = None

    @classmethod
    def largest(cls) -> float:
        return 1.0


class LengthBounds(Bounds):
    """On a number of response tokens; the end-of-turn token is one of the answer's."""

    at_least: Whole | None = None
    above: Whole | None = None
    at_most: Whole | None = None
    below: Whole | None = None


class CountBounds(LengthBounds):
    """On the number of claims in an answer."""


class ShareBounds(ConfidenceBounds):
    """On the share of claims, in [0, 1], whose confidence is below a threshold; unknown counts as below."""

    confidence_below: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)]

    @model_validator(mode="before")
    @classmethod
    def _bounded(cls, value: object) -> object:
        # Before the bounds are read: without one the message should name the bounds, not the threshold.
        if isinstance(value, dict) and value and not set(value) - {"confidence_below"}:
            raise wrong(f"has no bound on the share itself; it wants one of: {', '.join(_BOUNDS)}")
        return value
