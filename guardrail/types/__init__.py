"""The values on the arrows: Trace -> Score -> Confidence -> Decision -> Verdict.

Each stage takes the value on its left and returns the one on its right; all are frozen.
"""

from __future__ import annotations

from guardrail.types.claims import Aside, Claim, ClaimDecision, Claims, JudgedClaim, Verification
from guardrail.types.judgement import UNLIKE, Confidence, Decision, Evidence, NameCounts, Score
from guardrail.types.names import (
    ACTIONS,
    CLAIM_ACTIONS,
    DEFAULT_MAX_NEW_TOKENS,
    FINISH_REASONS,
    LABELS,
    ON_THE_WAY,
    SUPPORTS,
    UNSCORED_REASONS,
    WITHHELD,
    Action,
    AsideReason,
    ClaimAction,
    ClaimKind,
    FinishReason,
    Label,
    Message,
    OnError,
    Support,
    Tool,
    UnscoredReason,
)
from guardrail.types.trace import GenerationState, GivenAnswer, Trace
from guardrail.types.verdict import AskedFirst, Attempt, Consistency, Escalation, InOrders, Spent, Verdict

__all__ = [
    "ACTIONS",
    "CLAIM_ACTIONS",
    "DEFAULT_MAX_NEW_TOKENS",
    "FINISH_REASONS",
    "LABELS",
    "ON_THE_WAY",
    "SUPPORTS",
    "UNLIKE",
    "UNSCORED_REASONS",
    "WITHHELD",
    "Action",
    "Aside",
    "AsideReason",
    "AskedFirst",
    "Attempt",
    "Claim",
    "ClaimAction",
    "ClaimDecision",
    "ClaimKind",
    "Claims",
    "Confidence",
    "Consistency",
    "Decision",
    "Escalation",
    "Evidence",
    "FinishReason",
    "GenerationState",
    "GivenAnswer",
    "InOrders",
    "JudgedClaim",
    "Label",
    "Message",
    "NameCounts",
    "OnError",
    "Score",
    "Spent",
    "Support",
    "Tool",
    "Trace",
    "UnscoredReason",
    "Verdict",
    "Verification",
]
