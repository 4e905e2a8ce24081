"""Hedging: how unsure an answer says it is by its own words. For models that do nothing else about their doubt."""

from __future__ import annotations

from guardrail.languages import doubt_in
from guardrail.scoring.baselines.base import TextScorer
from guardrail.types import Trace


class Hedging(TextScorer):
    """The level of doubt in an answer's words, 0 (certainly) to 5 (I do not know), higher = more uncertain.

    The order of the levels is fixed; what each means in probability is not: `guardrail calibrate --scorer hedging` fits that to
    the user's own data. A model that never hedges has one level, which cannot be calibrated.
    """

    name = "hedging"
    asks = "text"
    needs = "text"
    unit = "level of doubt"

    def doubt(self, trace: Trace, text: str) -> float:
        return float(doubt_in(text))
