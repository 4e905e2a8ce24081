"""How often the graders that come with guardrail err, as measured on answers that a person judged (docs/results/graders.md)."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple


class ErrorRates(NamedTuple):
    """false_right: share of the wrong answers that are called right. false_wrong: share of the right ones called wrong."""

    false_right: float
    false_wrong: float


KNOWN: Mapping[str, ErrorRates] = MappingProxyType(
    {
        "alias": ErrorRates(4 / 186, 18 / 85),
        "exact": ErrorRates(0 / 186, 83 / 85),
        "f1": ErrorRates(14 / 186, 66 / 85),
        "semantic:all-minilm-l6-v2@0.7": ErrorRates(8 / 186, 41 / 85),
        "semantic:all-minilm-l6-v2@0.75": ErrorRates(3 / 186, 45 / 85),
    }
)
"""By the grader's name. A quarter of these answers are hard cases, so that on ordinary ones the graders err less."""
