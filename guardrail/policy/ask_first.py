"""When a policy searches before anything is generated."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from guardrail.policy.bounds import Line, Mapping
from guardrail.types import Confidence


class AskFirst(Mapping):
    """Search before anything is generated where P(IK), the probability that the model would answer rightly, is below this."""

    below: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)]
    because: Line = ""

    def decide(self, confidence: Confidence) -> tuple[bool, str]:
        """Whether to search, and why. What cannot be measured, or was measured on other questions, is looked up."""
        p = confidence.p_correct
        if p is None:
            found, why = True, f"P(IK) is not known ({confidence.reason})"
        elif confidence.familiar is False or not confidence.in_range:
            unlike = (
                "the question is unlike those of the calibration" if confidence.familiar is False else "out of range"
            )
            found, why = True, f"P(IK) {p:.2f} is not to be relied on: {unlike}"
        else:
            found, why = p < self.below, f"P(IK) {p:.2f} is {'' if p < self.below else 'not '}below {self.below:g}"
        reason = f" ({self.because.rstrip('.')})" if self.because and found else ""
        return found, f"{why}: {'searched' if found else 'nothing was searched'} before an answer{reason}"
