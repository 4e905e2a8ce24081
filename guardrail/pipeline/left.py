"""What is left of an answer once its claims are judged."""

from __future__ import annotations

from guardrail.actions.rewriting.fields import what_is_left
from guardrail.pipeline.claims import without_text
from guardrail.pipeline.conversation import Conversation, timed
from guardrail.types import Aside, Decision, JudgedClaim, Trace

NOTHING_LEFT = "nothing left"
"""The rule of a decision that no rule made: every claim was dropped."""

NO_NULL = "held back whole"
"""The rule of a decision that no rule made: a field was held back, and null must not stand in its place."""

UNREAD = "text that nobody judged"
"""The rule of a decision that no rule made: a part of the answer lies in no claim and in no aside."""


def rewritten(
    conversation: Conversation,
    trace: Trace,
    claims: tuple[JudgedClaim, ...],
    asides: tuple[Aside, ...],
    decision: Decision,
    wording: str | None,
) -> tuple[str, tuple[JudgedClaim, ...], Decision]:
    """The answer as its claims leave it, with the claims as shown.

    An abstention, in the policy's wording, where no claim is left, or where a part of the answer was not judged.
    """
    if decision.action == "abstain":
        return trace.text, without_text(claims), decision
    if unread := [aside for aside in asides if aside.reason == "unread"]:
        # where it stands, and not what it says: people see the explanation
        where = f"the first at characters {unread[0].start} to {unread[0].end}"
        parts = "1 part" if len(unread) == 1 else f"{len(unread)} parts"
        why = f"{parts} of the answer lie in no claim, {where}"
        return trace.text, without_text(claims), Decision("abstain", UNREAD, why, wording)
    if not claims:
        return trace.text, claims, decision
    form = conversation.form
    with timed("render", conversation):
        left = what_is_left(trace.text, claims, asides, form.may_be_null if form else lambda _: False)
    if left is None:
        worst = next(claim for claim in claims if claim.action != "keep")
        why = f"null must not stand for {worst.claim.path or 'a part of the answer'} ({worst.decision.explanation})"
        return trace.text, without_text(claims), Decision("abstain", NO_NULL, why, wording)
    if left.empty:
        why = f"none of {len(claims)} claims is left ({claims[0].decision.explanation})"
        decision = Decision("abstain", NOTHING_LEFT, why, wording)
    return left.text, left.claims, decision
