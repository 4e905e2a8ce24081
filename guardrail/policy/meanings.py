"""What readers take words of probability to mean, from published surveys: by it the shipped wordings are chosen.

A wording that says "probably" of an answer with one chance in four misleads, whatever number stands beside it. Models use such
words without regard to what they mean (Navigating the Grey Area, arXiv 2302.13439), and people give them values that can be
measured (Can Large Language Models Express Uncertainty Like Human?, arXiv 2509.24202). Knows
nothing about rules.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from guardrail.plain_text import normalise

if TYPE_CHECKING:
    from collections.abc import Mapping

SURVEYED: Mapping[str, tuple[float, float, float]] = {
    "highly likely": (0.8, 0.9, 0.95),
    "probably": (0.6, 0.7, 0.75),
    "about even": (0.5, 0.5, 0.5),
    "probably not": (0.15, 0.25, 0.3),
    "we doubt": (0.1, 0.2, 0.3),
    "highly unlikely": (0.05, 0.05, 0.1),
}
"""Lower quartile, median and upper quartile of the probability that 123 people gave each phrase.

Wade Fagen-Ulmschneider, Perception of Probability Words, github.com/wadefagen/datasets; quartiles by
`python -m tests.benchmarks.probability_words`.
"""


@dataclass(frozen=True, slots=True)
class Meaning:
    """The middle half of what readers take a phrase to say of an answer's chance of being right, in [0, 1].

    like: the phrase that they were asked about.
    """

    low: float
    high: float
    like: str

    def meets(self, low: float, high: float) -> bool:
        """Whether the middle half has some probability in [low, high), or in [low, 1]."""
        return self.low < high and low <= self.high

    def in_words(self) -> str:
        """`0.15 to 0.30`."""
        return f"{self.low:.2f}" if self.low == self.high else f"{self.low:.2f} to {self.high:.2f}"


def _surveyed(like: str) -> Meaning:
    low, _, high = SURVEYED[like]
    return Meaning(low, high, like)


MEANINGS: Mapping[str, Meaning] = {
    "very likely wrong": _surveyed("highly unlikely"),
    "probably wrong": _surveyed("probably not"),
    "doubtful": _surveyed("we doubt"),
    "may as well be wrong as right": _surveyed("about even"),
    # 4lights.substack.com/p/uncertain-times-need-better-words, "very unscientifically gathered" by its author: of "uncertain"
    # the median is 0.5, and plenty of answers lie between 0.3 and 0.5
    "unsure": Meaning(0.3, 0.5, "uncertain"),
    "probably right": _surveyed("probably"),
    "probably": _surveyed("probably"),
    "very likely right": _surveyed("highly likely"),
    "very likely": _surveyed("highly likely"),
    "uncertain": Meaning(0.3, 0.5, "uncertain"),
    **{like: _surveyed(like) for like in SURVEYED},
}
"""Phrases of the shipped wordings and those that readers were asked about, and what they take them to mean."""


def meaning_of(text: str) -> Meaning | None:
    """The meaning of the longest phrase of `MEANINGS` in a text; None where there is none, and for "not" before a phrase.

    meaning_of("Probably wrong: {answer}")  # low 0.15, high 0.3
    """
    plain = f" {normalise(text)} "
    found = [p for p in MEANINGS if (said := f" {normalise(p)} ") in plain and f" not{said}" not in plain]
    return MEANINGS[max(found, key=len)] if found else None


def misread(text: str, low: float, high: float) -> str | None:
    """Where readers take a wording's words to mean no probability in [low, high): how they take them; else None."""
    meaning = meaning_of(text)
    if meaning is None or meaning.meets(low, high):
        return None
    return f"readers take its words to mean {meaning.in_words()}, and it is for {low:.2f} to {high:.2f}"
