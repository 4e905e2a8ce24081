"""The answer with wording that says how sure the model is, graded by label.

Knows nothing about why the policy hedges. The default wordings speak about the chance that this answer is right, which
is what a calibrated confidence means, and never about a feeling of the model.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from guardrail.policy.template import fill

if TYPE_CHECKING:
    from collections.abc import Mapping

    from guardrail.types import Confidence, Decision, Label

DEFAULT_HEDGE: Mapping[Label | None, str] = {
    "very high": "Very likely right, though not certain ({confidence} chance): {answer}",
    "high": "Probably right, but worth checking ({confidence} chance): {answer}",
    "medium": "I am not sure; this may as well be wrong as right ({confidence} chance of being right): {answer}",
    "low": "This is closer to a guess and more likely wrong than right ({confidence} chance of being right): {answer}",
    "very low": "Most probably wrong, so do not rely on it ({confidence} chance of being right): {answer}",
    None: "I cannot tell how likely this is to be right, so please check it: {answer}",
}
"""The wording for each label; None is for an answer without a confidence."""


def hedge(decision: Decision, answer: str, confidence: Confidence) -> str:
    """The answer in the decision's wording, or in the default one for the label."""
    known = confidence.p_correct is not None and 0.0 <= confidence.p_correct <= 1.0  # NaN is not
    template = decision.template or DEFAULT_HEDGE[confidence.label if known else None]
    return fill(template, wording_values(decision, answer, confidence))


def wording_values(decision: Decision, answer: str, confidence: Confidence) -> dict[str, str]:
    """What the placeholders of a wording template stand for."""
    return {
        "answer": answer,
        "confidence": percent(confidence.p_correct),
        "label": confidence.label or "unknown",
        "explanation": decision.explanation,
    }


def percent(p: float | None) -> str:
    """A probability in whole percent; never 0 % or 100 % unless it is exactly that. `unknown` for None and NaN."""
    if p is None or not 0.0 <= p <= 1.0:
        return "unknown"
    if 0.0 < p < 0.01:
        return "under 1%"
    if 0.99 < p < 1.0:
        return "over 99%"
    return f"{p:.0%}"
