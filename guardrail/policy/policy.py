"""`Policy`: ordered rules; the first that matches decides, and no match abstains.

Knows nothing about models, retrievers or wording beyond handing on the file's template. `decide` is pure: the caller
remembers which retrieve rules have fired and tells it.
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
from guardrail.policy.checks import check_rules
from guardrail.policy.matching import Facts, judge
from guardrail.policy.mistakes import first_mistake, show
from guardrail.policy.schema import NO_RULE, PolicyFile, Retrieval, Rule, Wording
from guardrail.policy.source import parse, read_text
from guardrail.types import Confidence, Decision, Evidence, FinishReason, Score

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence


@dataclass(frozen=True, slots=True)
class Policy:
    """A loaded policy; immutable.

        Policy.load("default")                 # shipped
        Policy.load("rules/mine.yaml")         # a file
        Policy.from_text("version: 1\\nname: closed\\nrules: []\\n", "closed.yaml")   # abstains on everything

    source: the shipped name or the path. text: the file as read. warnings: one line for each part without effect.
    """

    name: str
    description: str
    rules: tuple[Rule, ...]
    retrieval: Retrieval
    wording: Wording
    source: str
    text: str = field(repr=False)
    warnings: tuple[str, ...] = ()

    @classmethod
    def load(cls, name_or_path: str | os.PathLike[str]) -> Self:
        """A shipped policy by its name, or any file by its path (`./default` for a file called like a shipped one).

        Raises `PolicyError`: one line with file, line and the nearest valid key.
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
        """A policy from YAML text; `source` opens every error message. Raises `PolicyError`."""
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
        )

    @property
    def needs_confidence(self) -> bool:
        """Whether any rule looks at confidence, label or calibrated range; it never matches without a calibrator."""
        parts = (part for rule in self.rules for part in rule.when.parts())
        return any(test is not None for part in parts for test in (part.confidence, part.label, part.in_range))

    @property
    def retrieves(self) -> bool:
        """Whether any rule can ask for evidence; without a retriever such a rule is passed over."""
        return self.retrieval.max_passes > 0 and any(rule.then == "retrieve" for rule in self.rules)

    def decide(
        self,
        confidence: Confidence,
        score: Score,
        *,
        evidence: Sequence[Evidence] = (),
        finish_reason: FinishReason = "stop",
        retriever: bool = True,
        fired: Collection[str] = (),
    ) -> Decision:
        """The first rule that matches; abstain when none does. Pure and total: every input gives a decision.

        evidence: the passages the answer was given with. retriever: whether one could be asked now. fired: the names of
        the retrieve rules that have fired for this question, one for each pass; after `retrieve` the caller adds
        `decision.rule` to it, and a rule that is in it is passed over, so the passes end.
        """
        facts = Facts(confidence, score, len(evidence), finish_reason)
        notes = ""
        for rule in self.rules:
            finding = judge(rule.when, facts)
            if finding.truth is not True:
                continue
            if rule.then == "retrieve" and (obstacle := self._obstacle(rule, retriever, fired)):
                notes += f"; rule {rule.name!r} was passed over: {obstacle}"
                continue
            says = (
                f"{finding.phrase}: rule {rule.name!r}" if finding.phrase else f"rule {rule.name!r} is for every answer"
            )
            because = f" ({rule.because.rstrip('.')})" if rule.because else ""
            return Decision(rule.then, rule.name, says + because + notes, self._template(rule, facts))
        return Decision("abstain", NO_RULE, f"{NO_RULE}: {facts.describe()}{notes}", self.wording.abstain)

    def _obstacle(self, rule: Rule, retriever: bool, fired: Collection[str]) -> str:
        """Why a retrieve rule may not fire; empty when it may."""
        if not retriever:
            return "there is no retriever"
        if rule.name in fired:
            return "it has retrieved for this question already"
        if len(fired) >= self.retrieval.max_passes:
            return f"max_passes is {self.retrieval.max_passes}"
        return ""

    def _template(self, rule: Rule, facts: Facts) -> str | None:
        if rule.then == "hedge":
            label = facts.confidence.label if facts.p_correct is not None else None
            return rule.say or self.wording.hedge.template(label)
        return rule.say or self.wording.abstain if rule.then == "abstain" else None
