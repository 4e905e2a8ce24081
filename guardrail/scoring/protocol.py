"""What a scorer is, for a Guard, for a calibrator, and for the registry."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, Self, TypeGuard

if TYPE_CHECKING:
    from guardrail.model.local import LocalModel
    from guardrail.model.recording import Keep
    from guardrail.types import Score, Trace

Needs = Literal["gradients", "logits", "samples", "text"]
"""What a scorer asks of the model, most first: weights and gradients, a forward pass, more generations, nothing."""


Asks = Literal["text", "log_probs", "top_log_probs"]
"""What a scorer asks of a model behind an endpoint: answers, the log-probabilities of their tokens, and of others there."""


class Scorer(Protocol):
    """Trace -> Score; higher = more uncertain.

    Nothing else is needed to drive a Guard. To be known by name (`--scorer NAME`, calibrators, `guardrail bench`) a scorer is a
    class in the registry, and its class is a `RegisteredScorer`.
    """

    @property
    def name(self) -> str:
        """What a calibrator records; scores of another name cannot be calibrated by it."""

    @property
    def options(self) -> Mapping[str, Any]:
        """Everything that changes the score, JSON-ready; a calibrator records it too."""

    @property
    def keep(self) -> Keep | None:
        """Which states generation should keep for it; None for a scorer that uses none."""

    def score_traces(self, traces: Sequence[Trace]) -> list[Score]:
        """One Score a Trace, in order; unscored rather than an exception where an answer has no number."""


class SpanScorer(Scorer, Protocol):
    """A scorer that can score parts of an answer, for claims."""

    def score_spans(self, traces: Sequence[Trace], spans: Sequence[Sequence[tuple[int, int]]]) -> list[list[Score]]:
        """For each Trace the scores of its spans, each `response_ids[start:end]`, in order."""


def scores_spans(scorer: Scorer) -> TypeGuard[SpanScorer]:
    """Whether a scorer can score the claims of an answer."""
    return callable(getattr(scorer, "score_spans", None))


class RegisteredScorer:
    """What the registry asks of a scorer's class, with what holds for most.

    A subclass gives `name`, `score_traces`, and what else differs. What changes its number is a keyword of its constructor,
    whose first parameter is the model, and stands under the same name in `options`.
    """

    name: ClassVar[str]
    needs: ClassVar[Needs] = "gradients"
    asks: ClassVar[Asks | None] = None
    """Of a model behind an endpoint; None for a scorer that needs weights."""
    of_question: ClassVar[bool] = False
    """Whether its number is about the question alone, so that it can be had before an answer (`score_questions`)."""
    unit: ClassVar[str] = ""
    """Of its number: "nats", "nats a token"; empty for a number without a unit."""

    @property
    def options(self) -> dict[str, Any]:
        return {}

    @property
    def keep(self) -> Keep | None:
        return None

    @property
    def reads(self) -> Mapping[str, Scorer]:
        """Other scorers that its number is made from, by name."""
        return {}

    @classmethod
    def from_options(cls, options: Mapping[str, Any], model: LocalModel) -> Self:
        """The scorer whose `options` these are, as a calibrator's file has them.

        An option that the constructor does not take has one value, which the caller compares. Raises `ScoringError`,
        `KeyError`, `TypeError` or `ValueError` for options that are not this scorer's.
        """
        make: Callable[..., Self] = cls
        return make(model, **{key: value for key, value in options.items() if key in cls.keywords()})

    @classmethod
    def keywords(cls) -> list[str]:
        """What the constructor takes beside the model."""
        return list(inspect.signature(cls).parameters)[1:]
