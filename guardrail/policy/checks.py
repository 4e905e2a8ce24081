"""Checks that compare the rules of a policy with each other. Knows nothing about a particular answer.

A rule that can never fire is an error, not a warning: the file then does not do what it reads like, most often because
a wide rule stands above a narrow one ("at least 0.6: answer" above "at least 0.8: ..."), and a warning scrolls away.
What merely has no effect at present (a retrieve rule with `max_passes: 0`, wording that no rule shows) is a warning.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from guardrail.policy.schema import PolicyFile, When
    from guardrail.policy.source import Source


def check_rules(policy: PolicyFile, source: Source) -> tuple[str, ...]:
    """Warnings, one line each. Raises `PolicyError` for duplicate names and for a rule that can never fire."""
    seen: dict[str, int] = {}
    for index, rule in enumerate(policy.rules):
        location = ("rules", index)
        if rule.name in seen:
            first = source.line(("rules", seen[rule.name], "name"))
            raise source.error((*location, "name"), f"duplicate rule name {rule.name!r}; line {first} has it already")
        for earlier in policy.rules[:index]:
            # A retrieve rule lets later rules have their turn: it fires once, then it is passed over.
            if earlier.then != "retrieve" and covers(earlier.when, rule.when):
                first = source.line(("rules", seen[earlier.name], "name"))
                raise source.error(
                    location,
                    f"rule {rule.name!r} can never fire: {earlier.name!r} (line {first}) matches whatever it matches",
                )
        seen[rule.name] = index
    return tuple(_without_effect(policy, source))


def covers(earlier: When, later: When) -> bool:
    """Whether `earlier` surely matches every answer that `later` matches. False when in doubt."""
    scored = any(test is not None for test in (later.confidence, later.label, later.in_range))
    return all(
        (
            earlier.confidence is None
            or (later.confidence is not None and earlier.confidence.covers(later.confidence)),
            earlier.length is None or (later.length is not None and earlier.length.covers(later.length)),
            earlier.label is None or _subset(later.label, earlier.label),
            earlier.finish_reason is None or _subset(later.finish_reason, earlier.finish_reason),
            earlier.unscored is None or _covers_unscored(earlier.unscored, later.unscored, scored),
            earlier.evidence in (None, later.evidence),
            earlier.in_range in (None, later.in_range),
            earlier.any_of in (None, later.any_of),
            earlier.not_ in (None, later.not_),
        )
    )


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
    actions = {rule.then for rule in policy.rules}
    if "retrieve" in actions and policy.retrieval.max_passes == 0:
        out.append(str(source.error(("retrieval", "max_passes"), "max_passes is 0, so no retrieve rule ever fires")))
    if policy.wording.hedge.model_fields_set and "hedge" not in actions:
        out.append(str(source.error(("wording", "hedge"), "wording for hedge, but no rule hedges")))
    return out
