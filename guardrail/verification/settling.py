"""What each passage says about a claim -> one Verification."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from guardrail.types import Evidence, Support, Verification


@dataclass(frozen=True, slots=True)
class Judgement:
    """What one passage says. evidence: its place among the claim's passages. p: the method's number in [0, 1], None without."""

    evidence: int
    support: Support
    p: float | None = None


def settle(passages: Sequence[Evidence], judgements: Sequence[Judgement], method: str) -> Verification:
    """Passages that agree settle a claim; where one supports it and another contradicts it, nothing is found.

    judgements: most similar passage first. The passage that settles it comes first in `evidence`, then others that say the
    same; nothing that was merely read is in there. A number that is not finite is none, and its judgement is "not found".

    >>> settle([a, b], [Judgement(1, "supported", 0.9), Judgement(0, "not found", 0.4)], "by hand").evidence == (b,)
    True
    """
    sound = [j if j.p is None or math.isfinite(j.p) else Judgement(j.evidence, "not found") for j in judgements]
    said = {j.support for j in sound} - {"not found"}
    if len(said) != 1:
        return Verification("not found", method, (), sound[0].p if sound else None)
    deciding = [j for j in sound if j.support in said]
    return Verification(deciding[0].support, method, tuple(passages[j.evidence] for j in deciding), deciding[0].p)
