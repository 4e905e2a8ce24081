"""Checks that compare the rules of a policy with each other. Knows nothing about a particular answer.

A rule that can never fire is an error, not a warning: the file then does not do what it reads like, most often because
a wide rule stands above a narrow one ("at least 0.6: answer" above "at least 0.8: ..."), and a warning scrolls away.
What merely has no effect at present (a retrieve rule with `max_passes: 0`, wording that no rule shows) is a warning, and so is
wording that readers take for another probability.
Rules for answers and rules for claims stand in each other's way never: each is asked about its own unit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from guardrail.calibration.labels import label_bounds
from guardrail.policy.meanings import misread
from guardrail.policy.tuned import first_unproven, first_unproven_claims
from guardrail.types import LABELS, ON_THE_WAY

if TYPE_CHECKING:
    from guardrail.policy.conditions import AnyWhen
    from guardrail.policy.schema import PolicyFile
    from guardrail.policy.source import Source


def check_rules(policy: PolicyFile, source: Source) -> tuple[str, ...]:
    """Warnings, one line each. Raises `PolicyError` for duplicate names, for a rule that can never fire, and for rules that
    are not those of the file's proof.
    """
    unclear = [i for i, rule in enumerate(policy.rules) if rule.for_ == "answer" and asks_ambiguity(rule.when)]
    if unclear and policy.ambiguity is None:
        raise source.error(
            ("rules", unclear[0], "when"),
            f"rule {policy.rules[unclear[0]].name!r} asks whether the question is ambiguous, and nothing says when it is; add "
            "`ambiguity: {above: NUMBER}`",
        )
    seen: dict[str, int] = {}
    for index, rule in enumerate(policy.rules):
        location = ("rules", index)
        if rule.name in seen:
            first = source.line(("rules", seen[rule.name], "name"))
            raise source.error((*location, "name"), f"duplicate rule name {rule.name!r}; line {first} has it already")
        for earlier in policy.rules[:index]:
            # A rule that fires once and is then passed over lets later rules have their turn.
            if earlier.for_ == rule.for_ and earlier.then not in ON_THE_WAY and covers(earlier.when, rule.when):
                first = source.line(("rules", seen[earlier.name], "name"))
                raise source.error(
                    location,
                    f"rule {rule.name!r} can never fire: {earlier.name!r} (line {first}) matches whatever it matches",
                )
        seen[rule.name] = index
    found = first_unproven(policy.proof, policy.rules) if policy.proof is not None else None
    key = "proof"
    if found is None and policy.claims_proof is not None:
        found, key = first_unproven_claims(policy.claims_proof, policy.rules), "claims_proof"
    if policy.ask_first is not None and (policy.proof or policy.claims_proof):
        raise source.error(
            ("ask_first",),
            "ask_first gives answers passages, which those that the proof has counted did not have; remove it",
        )
    if found is not None:
        index, wanted = found
        at, what = (
            (("rules", index), f"rule {policy.rules[index].name!r}")
            if index < len(policy.rules)
            else (("rules",), "the end")
        )
        raise source.error(
            at,
            f"{what} is not what the proof is about, where {wanted} stands; make the file again with guardrail tune, or "
            f"remove `{key}`",
        )
    return (*_without_effect(policy, source), *_misread(policy, source))


def asks_ambiguity(when: AnyWhen) -> bool:
    """Whether a condition, or one nested in it, asks if the question is ambiguous."""
    return any(getattr(part, "ambiguous", None) is not None for part in when.parts())


def covers(earlier: AnyWhen, later: AnyWhen) -> bool:
    """Whether `earlier` surely matches whatever `later`, of the same unit, matches. False when in doubt."""
    scored = later.needs_confidence
    return all(
        (
            earlier.confidence is None
            or (later.confidence is not None and earlier.confidence.covers(later.confidence)),
            earlier.length is None or (later.length is not None and earlier.length.covers(later.length)),
            (rare := getattr(earlier, "rare", None)) is None
            or ((other := getattr(later, "rare", None)) is not None and rare.covers(other)),
            (agreed := getattr(earlier, "consistency", None)) is None
            or ((other := getattr(later, "consistency", None)) is not None and agreed.covers(other)),
            earlier.unscored is None or _covers_unscored(earlier.unscored, later.unscored, scored),
            *(_covers_names(earlier, later, name) for name in ("label", "finish_reason", "support", "kind")),
            *(
                getattr(earlier, name, None) in (None, getattr(later, name, None))
                for name in (
                    *("evidence", "in_range", "familiar", "claims", "any_of", "not_", "ambiguous"),
                    *("spread", "never_together"),
                )
            ),
        )
    )


def _covers_names(earlier: AnyWhen, later: AnyWhen, name: str) -> bool:
    wanted: tuple[str, ...] | None = getattr(earlier, name, None)
    return wanted is None or _subset(getattr(later, name, None), wanted)


def _subset(later: tuple[str, ...] | None, earlier: tuple[str, ...]) -> bool:
    return later is not None and set(later) <= set(earlier)


def _covers_unscored(
    earlier: bool | tuple[str, ...] | None, later: bool | tuple[str, ...] | None, scored: bool
) -> bool:
    if earlier is True:
        return bool(later)
    if isinstance(earlier, tuple):
        return isinstance(later, tuple) and _subset(later, earlier)
    # A condition on confidence is never true of an unscored answer, so it says `unscored: false` by itself.
    return later is False or (later is None and scored)


def _without_effect(policy: PolicyFile, source: Source) -> list[str]:
    out = []

    def warn(*location: str | int, what: str) -> None:
        out.append(str(source.error(location, what)))

    actions = {rule.then for rule in policy.rules if rule.for_ == "answer"}
    claim_actions = {rule.then for rule in policy.rules if rule.for_ == "claim"}
    if policy.ambiguity is not None and not any(asks_ambiguity(rule.when) for rule in policy.rules):
        warn("ambiguity", what="no rule has the condition `ambiguous`, so nothing is measured")
    if "sampling" in policy.model_fields_set and not any(
        getattr(part, "consistency", None) is not None for rule in policy.rules for part in rule.when.parts()
    ):
        warn("sampling", what="no rule has the condition `consistency`, so nothing is sampled")
    if policy.wording.ask_back is not None and "ask_back" not in actions:
        warn("wording", "ask_back", what="wording for ask_back, but no rule asks back")
    if "retrieve" in actions and policy.retrieval.max_passes == 0:
        warn("retrieval", "max_passes", what="max_passes is 0, so no retrieve rule for answers ever fires")
    if "retrieve" in claim_actions and policy.retrieval.claims == 0:
        warn("retrieval", "claims", what="claims is 0, so no retrieve rule for claims ever fires")
    if policy.wording.hedge.model_fields_set and "hedge" not in actions:
        warn("wording", "hedge", what="wording for hedge, but no rule for answers hedges")
    if policy.wording.claim.hedge.model_fields_set and "hedge" not in claim_actions:
        warn("wording", "claim", "hedge", what="wording for hedged claims, but no rule for claims hedges")
    own = (getattr(rule, "retrieve", None) for rule in policy.rules)
    searches = [policy.retrieval, *(policy.retrieval.of(search) for search in own if search)]
    for index, rule in enumerate(policy.rules):
        by_order = any(getattr(part, "spread", None) is not None for part in rule.when.parts())
        if by_order and all(search.orders < 2 or search.passages < 2 for search in searches):
            text = f"rule {rule.name!r} asks for spread, which needs 2 or more orders and passages in `retrieval`"
            warn("rules", index, "when", what=text)
        asks = any(getattr(part, "support", None) is not None for part in rule.when.parts())
        if asks and "retrieve" not in claim_actions:
            warn("rules", index, "when", what=f"rule {rule.name!r} asks for support, but no rule for claims retrieves")
    return out


def _misread(policy: PolicyFile, source: Source) -> list[str]:
    """Wordings whose words mean another probability to readers than the label or the rule that they are for."""
    out = [
        str(source.error((*place, "hedge", label), f"the wording for {label}: {how}"))
        for place, wording in ((("wording",), policy.wording), (("wording", "claim"), policy.wording.claim))
        for label in LABELS
        if (text := wording.hedge.template(label)) and (how := misread(text, *label_bounds(label)))
    ]
    for index, rule in enumerate(policy.rules):
        if rule.say and rule.then == "hedge" and (bounds := rule.when.confidence) is not None:
            (low, _), (high, _) = bounds.interval()
            if how := misread(rule.say, low, high):
                out.append(str(source.error(("rules", index, "say"), f"rule {rule.name!r}: {how}")))
    return out
