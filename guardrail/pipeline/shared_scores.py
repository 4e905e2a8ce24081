"""Scores of answers, in one call with those of other threads where the model is shared."""

from __future__ import annotations

from collections.abc import Sequence

from guardrail.model.local import LocalModel
from guardrail.pipeline.failures import checked_scores
from guardrail.scoring.protocol import Scorer
from guardrail.types import Score, Trace


def shared_scores(model: LocalModel, scorer: Scorer, traces: Sequence[Trace]) -> list[Score]:
    """One checked Score a trace, in order; the scorer groups them by length. Raises what the scorer raises for these traces."""

    def work(rows: Sequence[Trace]) -> list[Score]:
        return checked_scores(scorer, scorer.score_traces(rows), rows)

    return work(traces) if model.sharing is None else model.sharing.scoring.run(id(scorer), work, traces)
