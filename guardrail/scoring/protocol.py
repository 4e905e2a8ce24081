"""What a Guard asks of a scorer. Knows nothing about any scorer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from guardrail.model.generate import Keep
    from guardrail.types import Score, Trace


class Scorer(Protocol):
    """Trace -> Score; higher = more uncertain."""

    @property
    def name(self) -> str:
        """What a calibrator records; scores of another name cannot be calibrated by it."""

    @property
    def options(self) -> Mapping[str, Any]:
        """Everything that changes the score, JSON-ready; a calibrator records it too."""

    @property
    def keep(self) -> Keep | None:
        """Which states generation should keep for it."""

    def score_traces(self, traces: Sequence[Trace]) -> list[Score]:
        """One Score a Trace, in order; unscored rather than an exception where an answer has no number."""


class SpanScorer(Scorer, Protocol):
    """A scorer that can score parts of an answer, for claims."""

    def score_spans(self, traces: Sequence[Trace], spans: Sequence[Sequence[tuple[int, int]]]) -> list[list[Score]]:
        """For each Trace the scores of its spans, each `response_ids[start:end]`, in order."""
