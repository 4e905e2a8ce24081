"""The message that stands in place of an answer and says why. Knows nothing about how the decision was made.

The answer is not in it, unless the policy's own template asks for `{answer}`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from guardrail.actions.hedge import wording_values
from guardrail.policy.template import fill

if TYPE_CHECKING:
    from guardrail.types import Confidence, Decision

DEFAULT_ABSTAIN = "I do not know this well enough to answer. Reason: {explanation}."


def abstain(decision: Decision, answer: str, confidence: Confidence) -> str:
    """Why there is no answer, in the decision's wording or the default one."""
    return fill(decision.template or DEFAULT_ABSTAIN, wording_values(decision, answer, confidence))
