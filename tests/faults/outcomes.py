"""What a fault came to, in words that can be counted."""

from __future__ import annotations

import math

from guardrail.errors import GuardrailError

WRONG = "A NUMBER THAT WAS NOT COMPUTED"
SAME = "no part in the answer, same score"
CHANGED = "finite all the way, another score"


def of_score(scorer, trace, sound):
    """sound: the number without the fault; NaN where it is not known."""
    try:
        [score] = scorer.score_traces([trace])
    except GuardrailError as error:
        return f"error {type(error).__name__}"
    if score.unscored is not None:
        return f"unscored {score.unscored}" if score.number is None and score.detail else WRONG
    numbers = [score.number, *score.parts.values()]
    if not all(map(math.isfinite, numbers)) or 0.0 in numbers[:4]:
        return WRONG
    if math.isnan(sound):
        return "scored, all numbers finite"
    return SAME if math.isclose(score.value, sound, rel_tol=1e-4) else CHANGED
