"""Charts as static SVG that a page carries in itself: small, labelled, readable without colour and by a screen reader.

from guardrail.html.charts import Row, dot_whisker
"""

from __future__ import annotations

from guardrail.html.charts.dot_whisker import Row, dot_whisker
from guardrail.html.charts.reliability import reliability_diagram
from guardrail.html.charts.risk_coverage import Point, risk_coverage
from guardrail.html.charts.score_histogram import score_histogram

__all__ = ["Point", "Row", "dot_whisker", "reliability_diagram", "risk_coverage", "score_histogram"]
