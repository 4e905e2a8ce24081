"""`Policy`: ordered rules; the first that matches decides, and no match abstains, or drops the claim.

Knows nothing about models, retrievers or wording beyond handing on the file's template. `decide` and `decide_claim` are
pure: the caller remembers what was retrieved already and tells them.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from difflib import get_close_matches
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Self

from pydantic import ValidationError

from guardrail.errors import PolicyError
from guardrail.policy import obstacles
from guardrail.policy.ambiguity import Ambiguity
from guardrail.policy.ask_first import AskFirst
from guardrail.policy.checks import asks_ambiguity, check_rules
from guardrail.policy.facts import AnswerFacts, ClaimFacts
from guardrail.policy.first_match import first_match
from guardrail.policy.matching import Facts
from guardrail.policy.mistakes import first_mistake, show
from guardrail.policy.proof import ClaimsProof, Proof
from guardrail.policy.rule_set import RuleSet
from guardrail.policy.sampling import Sampling
from guardrail.policy.schema import (
    NO_CLAIM_RULES,
    NO_RULE,
    Limits,
    PolicyFile,
    Rule,
    Wording,
)
from guardrail.policy.source import parse, read_text
from guardrail.types import (
    ClaimDecision,
    ClaimKind,
    Confidence,
    Decision,
    Evidence,
    FinishReason,
    Label,
    NameCounts,
    OnError,
    Score,
    Verification,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence


@dataclass(frozen=True, slots=True)
class Policy(RuleSet):
    """A loaded policy; immutable.

        Policy.load("default")                 # shipped
        Policy.load("rules/mine.yaml")         # a file
        Policy.from_text("version: 1\\nname: closed\\nrules: []\\n", "closed.yaml")   # abstains on everything

    Attributes:
        name: The policy's own name.
        description: One line; may be empty.
        rules: Rules for answers and for claims, in the file's order.
        retrieval: How much evidence is looked up.
        wording: What hedges and abstentions say.
        source: The shipped name or the path.
        text: The file as read.
        warnings: One line for each part without effect.
        proof: Of a promise about error rates, where `guardrail tune` made the file; it agrees with itself and the rules.
        limits: Seconds that a Guard waits for a search and for a verification.
        on_error: What a Guard does when a part of it fails.
        ask_first: Whether to search before anything is generated; None: never.
        ambiguity: When a question counts as ambiguous; None where no rule asks.
        sampling: How samples of an answer's prompt are drawn, for `consistency`.
        claims_proof: Of a promise about wrong claims in answers, where `guardrail tune --unit claim` made the file.
    """

    wording: Wording
    source: str
    text: str = field(repr=False)
    warnings: tuple[str, ...] = ()
    proof: Proof | None = None
    limits: Limits = field(default_factory=Limits)
    on_error: OnError = "abstain"
    claims_proof: ClaimsProof | None = None
    ask_first: AskFirst | None = None
    ambiguity: Ambiguity | None = None
    sampling: Sampling = field(default_factory=Sampling)

    @classmethod
    def load(cls, name_or_path: str | os.PathLike[str]) -> Self:
        """Load a shipped policy by its name, or any file by its path.

        Args:
            name_or_path: `./default` is a file that is called like a shipped policy.

        Raises:
            PolicyError: One line with file, line and the nearest valid key.
        """
        source = os.fspath(name_or_path)
        shipped = cls.shipped()
        if isinstance(name_or_path, str) and source in shipped:
            text = resources.files("guardrail.policies").joinpath(f"{source}.yaml").read_text(encoding="utf-8")
            return cls.from_text(text, source)
        if os.sep not in source and not source.endswith((".yaml", ".yml")) and not Path(source).exists():
            near = get_close_matches(source, shipped, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise PolicyError(f"no policy or file {show(source)}; shipped policies: {', '.join(shipped)}{hint}")
        return cls.from_text(read_text(source), source)

    @classmethod
    def shipped(cls) -> tuple[str, ...]:
        """The names of the policies that come with guardrail, sorted."""
        files = resources.files("guardrail.policies").iterdir()
        return tuple(sorted(file.name.removesuffix(".yaml") for file in files if file.name.endswith(".yaml")))

    @classmethod
    def from_text(cls, text: str, source: str) -> Self:
        """Read a policy from YAML text. Raises `PolicyError` as `load` does.

        Args:
            text: The content of a policy file.
            source: What it is called; opens every error message.
        """
        parsed = parse(text, source)
        if not isinstance(parsed.values, dict):
            raise parsed.error((), f"a policy is a mapping with the keys {', '.join(PolicyFile.keys())}")
        try:
            content = PolicyFile.model_validate(parsed.values)
        except ValidationError as error:
            raise first_mistake(error, parsed) from None
        warnings = check_rules(content, parsed)
        return cls(
            name=content.name,
            description=content.description,
            rules=content.rules,
            retrieval=content.retrieval,
            wording=content.wording,
            source=source,
            text=text,
            warnings=warnings,
            proof=content.proof,
            limits=content.limits,
            on_error=content.on_error,
            claims_proof=content.claims_proof,
            ask_first=content.ask_first,
            ambiguity=content.ambiguity,
            sampling=content.sampling,
        )

    @property
    def looks_at_ambiguity(self) -> bool:
        """Whether a rule asks if the question is ambiguous; only then is that measured."""
        return self.ambiguity is not None and any(asks_ambiguity(rule.when) for rule in self.answer_rules)

    def decide(
        self,
        confidence: Confidence,
        score: Score,
        *,
        evidence: Sequence[Evidence] = (),
        finish_reason: FinishReason = "stop",
        retriever: bool = True,
        fired: Collection[str] = (),
        claims: Sequence[Confidence] | None = None,
        ambiguity: Score | None = None,
        no_escalation: str = obstacles.NO_SECOND,
        no_retry: str = obstacles.NOT_ASKED,
        spread: float | None = None,
        names: NameCounts | None = None,
        consistency: float | None = None,
    ) -> Decision:
        """What to do with an answer: the first rule for answers that matches decides.

        Pure and total: every input gives a decision, and abstain where no rule matches.

        Args:
            confidence: The calibrated probability that the answer is right.
            score: The score that it came from.
            evidence: The passages that the answer was given with.
            finish_reason: Why the answer ends where it does.
            retriever: Whether a retriever could be asked now.
            fired: The retrieve rules that have fired for this question, one for each pass. After `retrieve` the caller
                adds `decision.rule`; a rule in it is passed over, so the passes end.
            claims: The confidence of each claim; None when it was not taken apart, and a condition on them is then unknown.
            ambiguity: The score of the question by the scorer of `Policy.ambiguity`. None, or one without a number, counts as
                an ambiguous question where a rule asks.
            no_escalation: Why no second model may be asked now; empty where one may. With it an escalate rule is passed over.
            no_retry: Why the model may not answer once more now; as no_escalation, for retry rules.
            spread: Of the confidence over orders of the passages; None where it was not measured, and unknown then.
            names: Of the question, counted in a corpus; None where there is none.
            consistency: The share of samples that say what the answer says, in [0, 1]. None: not measured, which counts as 0.
        """
        unclear = self.ambiguity.decide(ambiguity) if self.ambiguity and self.looks_at_ambiguity else None
        apart = None if claims is None else tuple(claims)
        facts = AnswerFacts(confidence, score, len(evidence), finish_reason, apart, unclear, spread, names, consistency)
        may = retriever, fired, no_escalation, no_retry
        rule, explanation = first_match(
            self.answer_rules, facts, lambda rule: obstacles.of_answer(rule, self.retrieval, *may)
        )
        if rule is None:
            return Decision("abstain", NO_RULE, explanation, self.wording.abstain)
        return Decision(rule.then, rule.name, explanation, self._template(rule, facts), rule.prefix)

    def decide_claim(
        self,
        confidence: Confidence,
        score: Score,
        *,
        kind: ClaimKind = "sentence",
        verification: Verification | None = None,
        retriever: bool = True,
        searched: int = 0,
    ) -> ClaimDecision:
        """What to do with one claim: the first rule for claims that matches decides.

        Pure and total: drop where no rule matches, keep where the policy has no rule for claims. `retrieve` is passed over
        once there is a verification, so a claim is looked up once at most.

        Args:
            confidence: The calibrated probability that the claim is right.
            score: The score that it came from.
            kind: What the claim was in the answer.
            verification: What evidence says about it; None before it was looked up.
            retriever: Whether a retriever could be asked now.
            searched: How many claims of this answer were looked up already.
        """
        if not self.judges_claims:
            return ClaimDecision("keep", NO_CLAIM_RULES, f"policy {self.name!r} has no rules for claims")
        facts = ClaimFacts(confidence, score, kind, verification)
        rule, explanation = first_match(
            self.claim_rules,
            facts,
            lambda rule: (
                obstacles.of_claim(verification, self.retrieval, retriever=retriever, searched=searched)
                if rule.then == "retrieve"
                else ""
            ),
        )
        if rule is None:
            return ClaimDecision("drop", NO_RULE, explanation)
        template = rule.say or self.wording.claim.hedge.template(_known_label(facts)) if rule.then == "hedge" else None
        return ClaimDecision(rule.then, rule.name, explanation, template)

    def _template(self, rule: Rule, facts: Facts) -> str | None:
        if rule.then == "hedge":
            return rule.say or self.wording.hedge.template(_known_label(facts))
        if rule.then == "ask_back":
            return rule.say or self.wording.ask_back
        return rule.say or self.wording.abstain if rule.then == "abstain" else None


def _known_label(facts: Facts) -> Label | None:
    return facts.confidence.label if facts.p_correct is not None else None
