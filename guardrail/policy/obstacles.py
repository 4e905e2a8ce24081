"""Why a rule that matches may not act now, so that it is passed over. Knows nothing about what the rules look at."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection

    from guardrail.policy.schema import Rule
    from guardrail.policy.search import Retrieval
    from guardrail.types import Verification

NO_SECOND = "there is no second model"
NOT_ASKED = "no model is asked here"
ASKED_AGAIN = "the model was asked once more already"


def of_answer(
    rule: Rule,
    retrieval: Retrieval,
    retriever: bool,
    fired: Collection[str],
    no_escalation: str = NO_SECOND,
    no_retry: str = NOT_ASKED,
) -> str:
    """Why a rule for answers may not act; empty when it may. Arguments as in `Policy.decide`."""
    if rule.then == "escalate":
        return no_escalation
    if rule.then == "retry":
        return no_retry
    if rule.then != "retrieve":
        return ""
    if not retriever:
        return "there is no retriever"
    if rule.name in fired:
        return "it has retrieved for this question already"
    if len(fired) >= retrieval.max_passes:
        return f"max_passes is {retrieval.max_passes}"
    return ""


def of_claim(verification: Verification | None, retrieval: Retrieval, *, retriever: bool, searched: int) -> str:
    """Why no claim may be looked up now; empty when one may. Arguments as in `Policy.decide_claim`."""
    if verification is not None:
        return f"the claim was looked up already ({verification.support})"
    if not retriever:
        return "there is no retriever"
    if searched >= retrieval.claims:
        return f"retrieval.claims is {retrieval.claims}"
    return ""
