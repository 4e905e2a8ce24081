"""Confidence -> Decision, of an answer and of its claims, by the ordered rules of a YAML file.

Knows nothing about models, scorers or retrievers.

`template` holds the wording templates' own rules, for guardrail.actions, which fills them.
"""

from guardrail.policy.ask_first import AskFirst
from guardrail.policy.policy import Policy
from guardrail.policy.proof import ClaimsProof, Proof, check_proof
from guardrail.policy.schema import NO_CLAIM_RULES, NO_RULE, ClaimRule, Rule
from guardrail.policy.search import Retrieval
from guardrail.types.names import MAX_PASSAGES

__all__ = [
    "MAX_PASSAGES",
    "NO_CLAIM_RULES",
    "NO_RULE",
    "AskFirst",
    "ClaimRule",
    "ClaimsProof",
    "Policy",
    "Proof",
    "Retrieval",
    "Rule",
    "check_proof",
]
