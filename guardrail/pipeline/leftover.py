"""What is left of an answer once its claims were decided on: text, claims as shown, and an abstention where it must be."""

from __future__ import annotations

from collections.abc import Callable

from guardrail.actions.rewriting.fields import what_is_left
from guardrail.pipeline.claims import without_text
from guardrail.pipeline.conversation import Conversation, timed
from guardrail.types import WITHHELD, Aside, Decision, JudgedClaim

NOTHING_LEFT = "nothing left"
"""The rule of a decision that no rule made: every claim was dropped."""

NO_NULL = "held back whole"
"""The rule of a decision that no rule made: a field was held back, and null must not stand in its place."""

UNREAD = "text that nobody judged"
"""The rule of a decision that no rule made: a part of the answer lies in no claim and in no aside."""

Leftover = tuple[str, tuple[JudgedClaim, ...], Decision]


def leftover(
    conversation: Conversation,
    answer: str,
    claims: tuple[JudgedClaim, ...],
    asides: tuple[Aside, ...],
    decision: Decision,
    wording: str | None,
) -> Leftover:
    """The answer as its claims leave it, with the claims as shown.

    An abstention, in the policy's wording, where no claim is left, or where a part of the answer was not judged. Nothing of an
    answer that is not shown itself is left.
    """

    def withheld(rule: str, why: str) -> Leftover:
        return answer, without_text(claims), Decision("abstain", rule, why, wording)

    if decision.action in (*WITHHELD, "escalate", "retry"):
        return answer, without_text(claims), decision
    if unread := [aside for aside in asides if aside.reason == "unread"]:
        # where it stands, and not what it says: people see the explanation
        where = f"the first at characters {unread[0].start} to {unread[0].end}"
        parts = "1 part" if len(unread) == 1 else f"{len(unread)} parts"
        return withheld(UNREAD, f"{parts} of the answer lie in no claim, {where}")
    if not claims:
        return answer, claims, decision
    may_be_null: Callable[[str], bool] = conversation.form.may_be_null if conversation.form else lambda _: False
    with timed("render", conversation):
        rewritten = what_is_left(answer, claims, asides, may_be_null)
    if rewritten is None:
        worst = next(claim for claim in claims if claim.action != "keep")
        what = worst.claim.path or "a part of the answer"
        return withheld(NO_NULL, f"null must not stand for {what} ({worst.decision.explanation})")
    if rewritten.empty:
        why = f"none of {len(claims)} claims is left ({claims[0].decision.explanation})"
        decision = Decision("abstain", NOTHING_LEFT, why, wording)
    return rewritten.text, rewritten.claims, decision
