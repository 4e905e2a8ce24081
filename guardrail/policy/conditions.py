"""What `when` may ask: of a whole answer, of one claim, and of an answer's claims together.

Knows nothing about rules, nor about how a condition is evaluated (matching.py).
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self, TypeAlias

from pydantic import AfterValidator, BeforeValidator, Field, PlainValidator, model_validator

from guardrail.policy.bounds import ConfidenceBounds, CountBounds, LengthBounds, Mapping, ShareBounds, wrong
from guardrail.types import UNSCORED_REASONS, ClaimKind, FinishReason, Label, Support, UnscoredReason
from guardrail.types.names import MOST_COUNTED


def _several(value: object) -> object:
    return (value,) if isinstance(value, str) else value


def _one_or_more(name: Any) -> BeforeValidator:
    """A list of names may be written as the one name in it."""
    return BeforeValidator(_several, json_schema_input_type=name | Annotated[tuple[name, ...], Field(min_length=1)])


def _unscored(value: object) -> bool | tuple[UnscoredReason, ...]:
    if isinstance(value, bool):
        return value
    reasons = _several(value)
    if isinstance(reasons, tuple) and reasons and all(reason in UNSCORED_REASONS for reason in reasons):
        return reasons
    raise wrong(f"wants true, false or some of: {', '.join(UNSCORED_REASONS)}")


def _countable(bounds: CountBounds) -> CountBounds:
    for bound, most in (
        *((bound, MOST_COUNTED) for bound in (bounds.at_least, bounds.below)),
        *((bound, MOST_COUNTED - 1) for bound in (bounds.above, bounds.at_most)),
    ):
        if bound is not None and bound > most:
            raise wrong(f"has a bound of {bound}, and counting ends at {MOST_COUNTED}")
    return bounds


class ClaimsCondition(Mapping):
    """On all claims of an answer. A claim without a confidence counts as below every threshold of `share`.

    weakest, mean: of the claims' confidences, unknown as soon as one of them is. share, weakest and mean are unknown
    where there are no claims; everything here is unknown where the answer was not taken apart.
    """

    weakest: ConfidenceBounds | None = None
    mean: ConfidenceBounds | None = None
    share: ShareBounds | None = None
    count: CountBounds | None = None

    @property
    def needs_confidence(self) -> bool:
        return any(test is not None for test in (self.weakest, self.mean, self.share))

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if not self.model_fields_set:
            raise wrong(f"is empty; it wants one of: {', '.join(self.keys())}")
        return self


class Conditions(Mapping):
    """What can be asked of an answer and of a claim alike. All that is given must hold."""

    confidence: ConfidenceBounds | None = None
    label: Annotated[tuple[Label, ...], _one_or_more(Label), Field(min_length=1)] | None = None
    length: LengthBounds | None = None
    unscored: (
        Annotated[
            bool | tuple[UnscoredReason, ...],
            PlainValidator(_unscored, json_schema_input_type=bool | UnscoredReason | tuple[UnscoredReason, ...]),
        ]
        | None
    ) = None
    in_range: bool | None = None
    familiar: bool | None = None

    @property
    def always(self) -> bool:
        """No condition at all: it holds for everything."""
        return not self.model_fields_set

    @property
    def needs_confidence(self) -> bool:
        """Whether it looks at what only a calibrator gives; conditions nested in it are not looked into."""
        return any(test is not None for test in (self.confidence, self.label, self.in_range, self.familiar))


class When(Conditions):
    """Conditions on a whole answer. `any` needs one of its members; `not` needs its member to be known and false.

    ambiguous: whether the question is, by the policy's `ambiguity`; one that could not be measured counts as ambiguous.
    spread: of the confidence over the orders of the passages, the highest less the lowest. rare: on the passages of the corpus
    that have the question's rarest name. never_together: whether no passage has some two of its names.
    consistency: on the share of samples (`sampling`) that say what the answer says; one that could not be measured counts as 0.
    """

    evidence: Literal["present", "absent"] | None = None
    finish_reason: Annotated[tuple[FinishReason, ...], _one_or_more(FinishReason), Field(min_length=1)] | None = None
    claims: ClaimsCondition | None = None
    ambiguous: bool | None = None
    any_of: Annotated[tuple[When, ...], Field(min_length=1)] | None = Field(default=None, alias="any")
    not_: When | None = Field(default=None, alias="not")
    spread: ConfidenceBounds | None = None
    rare: Annotated[CountBounds, AfterValidator(_countable)] | None = None
    never_together: bool | None = None
    consistency: ConfidenceBounds | None = None

    @property
    def needs_confidence(self) -> bool:
        """As for every condition; the spread is one of confidences."""
        return self.spread is not None or super().needs_confidence

    @property
    def needs_corpus(self) -> bool:
        """Whether it looks at counts in a corpus; conditions nested in it are not looked into."""
        return self.rare is not None or self.never_together is not None

    def parts(self) -> tuple[When, ...]:
        """Itself and every condition nested in it."""
        nested = (*(self.any_of or ()), *((self.not_,) if self.not_ else ()))
        return (self, *(part for when in nested for part in when.parts()))

    @model_validator(mode="after")
    def _nested_conditions_say_something(self) -> Self:
        _refuse_empty(self)
        return self


class ClaimWhen(Conditions):
    """Conditions on one claim. support: what evidence says, unknown before a retrieve rule had it looked up."""

    support: Annotated[tuple[Support, ...], _one_or_more(Support), Field(min_length=1)] | None = None
    kind: Annotated[tuple[ClaimKind, ...], _one_or_more(ClaimKind), Field(min_length=1)] | None = None
    any_of: Annotated[tuple[ClaimWhen, ...], Field(min_length=1)] | None = Field(default=None, alias="any")
    not_: ClaimWhen | None = Field(default=None, alias="not")

    def parts(self) -> tuple[ClaimWhen, ...]:
        """Itself and every condition nested in it."""
        nested = (*(self.any_of or ()), *((self.not_,) if self.not_ else ()))
        return (self, *(part for when in nested for part in when.parts()))

    @model_validator(mode="after")
    def _nested_conditions_say_something(self) -> Self:
        _refuse_empty(self)
        return self


AnyWhen: TypeAlias = When | ClaimWhen


def _refuse_empty(when: AnyWhen) -> None:
    # An empty rule is a catch-all on purpose; an empty condition inside `any` or `not` is an accident.
    if when.not_ is not None and when.not_.always:
        raise wrong("has an empty 'not', which never holds")
    if any(member.always for member in when.any_of or ()):
        raise wrong("has an empty condition in 'any', which always holds")
