"""The shape of a policy file, as frozen pydantic models that forbid unknown keys.

Knows nothing about YAML, files or lines (source.py, mistakes.py), nor about how a rule is matched (matching.py). Checks
that need one mapping only are here; those that compare rules with each other are in checks.py.
"""

from __future__ import annotations

import math
from typing import Annotated, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainValidator, model_validator
from pydantic_core import PydanticCustomError

from guardrail.policy.template import mistake, placeholders
from guardrail.types import LABELS, UNSCORED_REASONS, Action, FinishReason, Label, UnscoredReason

VERSION = 1
NO_RULE = "no rule matched"
MAX_PASSAGES = 20
MAX_PASSES = 5


def wrong(message: str) -> PydanticCustomError:
    """An error whose text is ours, the end of a sentence that starts with the place."""
    return PydanticCustomError("policy", "{message}", {"message": message})


def _version(value: object) -> object:
    if type(value) is not int or value != VERSION:  # not isinstance: true is an int, 1.0 == 1
        raise PydanticCustomError("version", "unknown version")
    return value


def _one_line(value: object) -> object:
    """Names and reasons end up in explanations, and those are one line."""
    return " ".join(value.split()) if isinstance(value, str) else value


def _several(value: object) -> object:
    return (value,) if isinstance(value, str) else value


def _unscored(value: object) -> bool | tuple[UnscoredReason, ...]:
    if isinstance(value, bool):
        return value
    reasons = _several(value)
    if isinstance(reasons, tuple) and reasons and all(reason in UNSCORED_REASONS for reason in reasons):
        return reasons
    raise wrong(f"wants true, false or some of: {', '.join(UNSCORED_REASONS)}")


def _template(value: object) -> object:
    if isinstance(value, str):
        if not value.strip():
            raise wrong("is empty")
        if fault := mistake(value):
            raise wrong(fault)
    return value


def _hedge_template(value: object) -> object:
    if isinstance(_template(value), str) and "answer" not in placeholders(str(value)):
        raise wrong("does not contain {answer}; to withhold the answer, use abstain")
    return value


Line = Annotated[str, BeforeValidator(_one_line)]
Name = Annotated[str, BeforeValidator(_one_line), Field(min_length=1, max_length=80)]
Template = Annotated[str, BeforeValidator(_template)]
HedgeTemplate = Annotated[str, BeforeValidator(_hedge_template)]
Probability = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Tokens = Annotated[int, Field(ge=0)]


class _Mapping(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    @classmethod
    def keys(cls) -> tuple[str, ...]:
        """The keys as a file spells them."""
        return tuple(field.alias or name for name, field in cls.model_fields.items())


class Bounds(_Mapping):
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
            raise wrong(f"is empty; it wants one of: {', '.join(self.keys())}")
        for one, other in (("at_least", "above"), ("at_most", "below")):
            if getattr(self, one) is not None and getattr(self, other) is not None:
                raise wrong(f"has both {one} and {other}; keep one of them")
        (low, excluded), (high, included) = self.interval()
        if low > high or (low == high and (excluded or not included)):
            given = " and ".join(f"{key} {getattr(self, key)}" for key in self.keys() if key in self.model_fields_set)
            raise wrong(f"can never hold: no value is {given}")
        return self


class ConfidenceBounds(Bounds):
    """On the calibrated probability that the answer is right, in [0, 1]."""

    at_least: Probability | None = None
    above: Probability | None = None
    at_most: Probability | None = None
    below: Probability | None = None

    @classmethod
    def largest(cls) -> float:
        return 1.0


class LengthBounds(Bounds):
    """On the number of response tokens, the end-of-turn token included."""

    at_least: Tokens | None = None
    above: Tokens | None = None
    at_most: Tokens | None = None
    below: Tokens | None = None


class When(_Mapping):
    """Conditions that must all hold. `any` needs one of its members; `not` needs its member to be known and false."""

    confidence: ConfidenceBounds | None = None
    label: Annotated[tuple[Label, ...], BeforeValidator(_several), Field(min_length=1)] | None = None
    evidence: Literal["present", "absent"] | None = None
    length: LengthBounds | None = None
    finish_reason: Annotated[tuple[FinishReason, ...], BeforeValidator(_several), Field(min_length=1)] | None = None
    unscored: Annotated[bool | tuple[UnscoredReason, ...], PlainValidator(_unscored)] | None = None
    in_range: bool | None = None
    any_of: Annotated[tuple[When, ...], Field(min_length=1)] | None = Field(default=None, alias="any")
    not_: When | None = Field(default=None, alias="not")

    @property
    def always(self) -> bool:
        """No condition at all: it holds for every answer."""
        return not self.model_fields_set

    def parts(self) -> tuple[When, ...]:
        """Itself and every condition nested in it."""
        nested = (*(self.any_of or ()), *((self.not_,) if self.not_ else ()))
        return (self, *(part for when in nested for part in when.parts()))

    @model_validator(mode="after")
    def _nested_conditions_say_something(self) -> Self:
        # An empty rule is a catch-all on purpose; an empty condition inside `any` or `not` is an accident.
        if self.not_ is not None and self.not_.always:
            raise wrong("has an empty 'not', which never holds")
        if any(when.always for when in self.any_of or ()):
            raise wrong("has an empty condition in 'any', which always holds")
        return self


class Rule(_Mapping):
    """When the conditions hold, then act. `say` replaces the policy's wording for this rule."""

    name: Name
    when: When = When()
    then: Action
    because: Line = ""
    say: Template | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.name == NO_RULE:
            raise wrong(f"has the name {NO_RULE!r}, which is taken by what happens when none matches")
        if self.say is not None and self.then not in ("hedge", "abstain"):
            raise wrong(f"has 'say', but then: {self.then} shows no wording; only hedge and abstain do")
        if self.say is not None and self.then == "hedge" and "answer" not in placeholders(self.say):
            raise wrong("hedges, but its 'say' does not contain {answer}; to withhold the answer, use abstain")
        return self


class HedgeWording(_Mapping):
    """One template for each label; `unknown` is for a hedge without a confidence."""

    very_low: HedgeTemplate | None = Field(default=None, alias="very low")
    low: HedgeTemplate | None = None
    medium: HedgeTemplate | None = None
    high: HedgeTemplate | None = None
    very_high: HedgeTemplate | None = Field(default=None, alias="very high")
    unknown: HedgeTemplate | None = None

    def template(self, label: Label | None) -> str | None:
        """The file's template for a label (None: no confidence), or None where the file has none."""
        by_label = dict(zip(LABELS, (self.very_low, self.low, self.medium, self.high, self.very_high), strict=True))
        return self.unknown if label is None else by_label[label]


class Wording(_Mapping):
    """What hedges and abstentions say; what is left out falls back to the wording in guardrail.actions."""

    hedge: HedgeWording = HedgeWording()
    abstain: Template | None = None


class Retrieval(_Mapping):
    """How many passages a retrieve pass asks for, and how many passes one question may take in all."""

    passages: Annotated[int, Field(ge=1, le=MAX_PASSAGES)] = 3
    max_passes: Annotated[int, Field(ge=0, le=MAX_PASSES)] = 1


class PolicyFile(_Mapping):
    """A whole file."""

    version: Annotated[Literal[1], BeforeValidator(_version)]
    name: Name
    description: Line = ""
    retrieval: Retrieval = Retrieval()
    wording: Wording = Wording()
    rules: tuple[Rule, ...]


MAPPINGS: dict[str, type[_Mapping]] = {
    "": PolicyFile,
    "retrieval": Retrieval,
    "wording": Wording,
    "hedge": HedgeWording,
    "rules": Rule,
    "when": When,
    "any": When,
    "not": When,
    "confidence": ConfidenceBounds,
    "length": LengthBounds,
}
"""The mapping that stands under each key of a file ("" is the file itself)."""
