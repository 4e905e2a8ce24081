"""Answers to show in a report: drawn by lot, so that nobody picked them."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from guardrail.calibration.metrics import Bools, Estimate, wilson_interval
from guardrail.types import LABELS, Confidence, Label

EACH = 2
"""Answers shown of each kind: right ones, and wrong ones, of one label."""


@dataclass(frozen=True, slots=True)
class Example:
    question: str
    accepted: tuple[str, ...]
    answer: str
    right: bool
    confidence: Confidence


@dataclass(frozen=True, slots=True)
class LabelExamples:
    """label: None for answers without a confidence. right: their share of right answers, Wilson interval. examples: right ones
    first."""

    label: Label | None
    right: Estimate
    examples: tuple[Example, ...]


def examples_by_label(
    records: Sequence[dict[str, Any]],
    confidences: Sequence[Confidence],
    correct: Bools,
    *,
    each: int = EACH,
    seed: int = 0,
) -> tuple[LabelExamples, ...]:
    """Up to `each` right and `each` wrong answers of every label that occurs, the most confident label first.

    Drawn at random; the same seed draws the same, whatever order the records are in.
    """
    found = []
    for label in (*reversed(LABELS), None):
        members = [i for i, c in enumerate(confidences) if c.label == label]
        if not members:
            continue
        drawn: list[int] = []
        for right in (True, False):
            kind = sorted((i for i in members if bool(correct[i]) is right), key=lambda i: str(records[i]["key"]))
            lot = random.Random(f"{seed} {label} {right}")  # noqa: S311
            drawn += lot.sample(kind, min(each, len(kind)))
        share = wilson_interval(sum(bool(correct[i]) for i in members), len(members))
        found.append(
            LabelExamples(label, share, tuple(_example(records[i], confidences[i], correct[i]) for i in drawn))
        )
    return tuple(found)


def _example(record: dict[str, Any], confidence: Confidence, right: Any) -> Example:
    return Example(record["question"], tuple(record["accepted"]), record["answer"], bool(right), confidence)
