"""Hedging: how unsure an answer says it is by its own words. For models that do nothing else about their doubt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from guardrail.errors import ScoringError
from guardrail.languages import doubt_in
from guardrail.scoring.baselines.base import AnswerScorer
from guardrail.types import Score, Trace

Span = tuple[int, int]


class Hedging(AnswerScorer):
    """The level of doubt in an answer's words, 0 (certainly) to 5 (I do not know), higher = more uncertain.

    The order of the levels is fixed; what each means in probability is not: `guardrail calibrate --scorer hedging` fits that to
    the user's own data. A model that never hedges has one level, which cannot be calibrated.
    """

    name = "hedging"
    needs = "text"
    unit = "level of doubt"

    def uncertainty(self, trace: Trace) -> float:
        return float(doubt_in(trace.text))

    def score_spans(self, traces: Sequence[Trace], spans: Sequence[Sequence[Span]]) -> list[list[Score]]:
        """The scores of parts of answers: for each trace those of its spans, each `response_ids[start:end]`.

        Raises `ScoringError` for a span that is not within the response.
        """
        return [[self._score_part(trace, *span) for span in parts] for trace, parts in zip(traces, spans, strict=True)]

    def _score_part(self, trace: Trace, start: int, end: int) -> Score:
        T = len(trace.response_ids)
        if not 0 <= start < end <= T:
            raise ScoringError(f"the span [{start}, {end}) is empty or not within the response's {T} tokens")
        refused = self._refused(trace)
        if refused is not None:
            return replace(refused, length=end - start)
        text = self.model.tokenizer.decode(list(trace.response_ids[start:end]), skip_special_tokens=True)
        return Score.of(self.name, float(doubt_in(text)), length=end - start)
