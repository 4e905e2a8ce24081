"""The rules of a policy, and what they look at, so that nothing else is measured, searched or loaded."""

from __future__ import annotations

from dataclasses import dataclass

from guardrail.policy.schema import AnyRule, ClaimRule, Rule
from guardrail.policy.search import Retrieval


@dataclass(frozen=True, slots=True)
class RuleSet:
    """What a policy is called, its rules in the file's order, and how much evidence is looked up."""

    name: str
    description: str
    rules: tuple[AnyRule, ...]
    retrieval: Retrieval

    @property
    def answer_rules(self) -> tuple[Rule, ...]:
        """The rules for whole answers, in the file's order."""
        return tuple(rule for rule in self.rules if isinstance(rule, Rule))

    @property
    def claim_rules(self) -> tuple[ClaimRule, ...]:
        """The rules for claims, in the file's order."""
        return tuple(rule for rule in self.rules if isinstance(rule, ClaimRule))

    @property
    def needs_confidence(self) -> bool:
        """Whether a rule for answers looks at the answer's confidence, label or calibrated range.

        Without a calibrator of answers such a rule never matches. Claims do not count: `needs_claim_confidence`.
        """
        return any(part.needs_confidence for rule in self.answer_rules for part in rule.when.parts())

    @property
    def needs_claim_confidence(self) -> bool:
        """Whether any rule looks at the confidence of claims; without a calibrator of claims it never matches."""
        together = (part.claims for rule in self.answer_rules for part in rule.when.parts())
        return any(part.needs_confidence for rule in self.claim_rules for part in rule.when.parts()) or any(
            claims is not None and claims.needs_confidence for claims in together
        )

    @property
    def judges_claims(self) -> bool:
        """Whether there is any rule for claims; without one every claim is kept."""
        return bool(self.claim_rules)

    @property
    def looks_at_claims(self) -> bool:
        """Whether a rule for answers has a condition on the answer's claims."""
        return any(part.claims is not None for rule in self.answer_rules for part in rule.when.parts())

    @property
    def looks_at_names(self) -> bool:
        """Whether a rule asks how often the names of the question occur in a corpus."""
        return any(part.needs_corpus for rule in self.answer_rules for part in rule.when.parts())

    @property
    def looks_at_consistency(self) -> bool:
        """Whether a rule asks how many samples agree with the answer; only then are some drawn, where they can matter."""
        return any(part.consistency is not None for rule in self.answer_rules for part in rule.when.parts())

    def search_of(self, rule: str | None) -> Retrieval:
        """How much evidence the search of a rule looks up, and in how many orders an answer is judged with it.

        rule: its name; None, or that of no rule for answers, is the file's `retrieval`.
        """
        return self.retrieval.of(next((each.retrieve for each in self.answer_rules if each.name == rule), None))

    @property
    def retrieves(self) -> bool:
        """Whether a rule for answers can ask for evidence; without a retriever such a rule is passed over."""
        return self.retrieval.max_passes > 0 and any(rule.then == "retrieve" for rule in self.answer_rules)

    @property
    def escalates(self) -> bool:
        """Whether a rule can let a second model answer; without one such a rule is passed over."""
        return any(rule.then == "escalate" for rule in self.answer_rules)

    @property
    def retries(self) -> bool:
        """Whether a rule can let the model answer once more."""
        return any(rule.then == "retry" for rule in self.answer_rules)

    @property
    def verifies_claims(self) -> bool:
        """Whether a rule for claims can ask for evidence."""
        return self.retrieval.claims > 0 and any(rule.then == "retrieve" for rule in self.claim_rules)
