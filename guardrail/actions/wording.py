"""What the user is shown: the answer, the answer with wording that says how sure the model is, or a message in its place.

The default wordings speak about the chance that this answer is right, which is what a calibrated confidence means, and
never about a feeling of the model. A message in place of an answer never holds the answer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from guardrail.claims.shown import shown_label
from guardrail.policy.template import fill
from guardrail.types.names import DEFAULT_ASK_BACK

if TYPE_CHECKING:
    from collections.abc import Mapping

    from guardrail.types import Confidence, Decision, Label

DEFAULT_HEDGE: Mapping[Label | None, str] = {
    "very high": "Very likely right, though not certain ({confidence} chance): {answer}",
    "high": "Probably right, but worth checking ({confidence} chance): {answer}",
    "medium": "I am not sure; this may as well be wrong as right ({confidence} chance of being right): {answer}",
    "low": "Probably wrong; take it for a guess ({confidence} chance of being right): {answer}",
    "very low": "Very likely wrong, so do not rely on it ({confidence} chance of being right): {answer}",
    None: "I cannot tell how likely this is to be right, so please check it: {answer}",
}
"""The wording for each label; None is for an answer without a confidence."""

DEFAULT_CLAIM_HEDGE: Mapping[Label | None, str] = {
    "very high": "{answer} (very likely, {confidence} chance of being right)",
    "high": "{answer} (probably, {confidence} chance of being right)",
    "medium": "{answer} (unsure, {confidence} chance of being right)",
    "low": "{answer} (doubtful, {confidence} chance of being right)",
    "very low": "{answer} (very likely wrong, {confidence} chance of being right)",
    None: "{answer} (how likely this is to be right is unknown)",
}
"""The wording for each label; None is for a claim without a confidence."""

DEFAULT_ABSTAIN = "I do not know this well enough to answer. Reason: {explanation}."


def render(decision: Decision, answer: str, confidence: Confidence) -> str:
    """What the user is shown: the answer as it is, hedged, or a message in its place.

    Raises ValueError for `retrieve`, `escalate` and `retry`: steps on the way, after which the caller has to decide again.
    """
    match decision.action:
        case "answer":
            return answer
        case "hedge":
            return hedge(decision, answer, confidence)
        case "abstain":
            return abstain(decision, confidence)
        case "ask_back":
            return ask_back(decision, confidence)
        case "retrieve":
            raise ValueError(f"rule {decision.rule!r} says retrieve, which cannot be shown; retrieve and decide again")
        case "escalate":
            raise ValueError(f"rule {decision.rule!r} says escalate, which cannot be shown; ask the second model")
        case "retry":
            raise ValueError(
                f"rule {decision.rule!r} says retry, which cannot be shown; let the model answer once more"
            )


def hedge(decision: Decision, answer: str, confidence: Confidence) -> str:
    """The answer in the decision's wording, or in the default one for the label."""
    template = decision.template or DEFAULT_HEDGE[shown_label(confidence)]
    return fill(template, _values(decision, answer, confidence))


def abstain(decision: Decision, confidence: Confidence) -> str:
    """Why there is no answer, in the decision's wording or the default one."""
    return fill(decision.template or DEFAULT_ABSTAIN, _values(decision, "", confidence))


def ask_back(decision: Decision, confidence: Confidence) -> str:
    """What is asked in place of an answer, in the decision's wording or the default one."""
    return fill(decision.template or DEFAULT_ASK_BACK, _values(decision, "", confidence))


def _values(decision: Decision, answer: str, confidence: Confidence) -> dict[str, str]:
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
