"""The first rule that matches and may act, and the sentence that explains it."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from guardrail.policy.matching import Facts, Finding, evaluate
from guardrail.policy.schema import NO_RULE, AnyRule, ClaimRule, Rule

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_Rule = TypeVar("_Rule", Rule, ClaimRule)


def first_match(rules: Iterable[_Rule], facts: Facts, obstacle: Callable[[_Rule], str]) -> tuple[_Rule | None, str]:
    """The first rule that matches and may act, and the explanation; None when there is none."""
    notes, inside = "", facts.within_range()
    for rule in rules:
        finding = evaluate(rule.when, facts)
        if finding.truth is not True:
            if inside is not None and evaluate(rule.when, inside).truth is True:
                notes += f"; rule {rule.name!r} was passed over: the score lies outside the calibrated range"
            continue
        if why_not := obstacle(rule):
            notes += f"; rule {rule.name!r} was passed over: {why_not}"
            continue
        return rule, _explain(rule, finding, facts) + notes
    return None, f"{NO_RULE}: {facts.describe()}{notes}"


def _explain(rule: AnyRule, finding: Finding, facts: Facts) -> str:
    says = (
        f"{finding.phrase}: rule {rule.name!r}" if finding.phrase else f"rule {rule.name!r} is for every {facts.unit}"
    )
    return f"{says} ({rule.because.rstrip('.')})" if rule.because else says
