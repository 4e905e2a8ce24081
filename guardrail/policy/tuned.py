"""A proof -> the rules it is about, and the policy file that carries both."""

from __future__ import annotations

from typing import Any

import yaml

from guardrail.policy.conditions import When
from guardrail.policy.proof import Proof
from guardrail.policy.schema import AnyRule

_HEAD = """\
# Written by guardrail tune. The rules show exactly the answers that the proof below has counted. Wording is yours (`because`,
# `say`, `wording`); other rules, and another calibrator, are refused as long as `proof` stands here.
# The promise is about new questions of the same kind, answered greedily to the calibrator's prompt, as the grader grades.
"""


def policy_text(proof: Proof) -> str:
    """A policy file, version 1, under the rules of the proof; `Policy.from_text` reads it back."""
    shown = proof.shown
    content: dict[str, Any] = {
        "version": 1,
        "name": "tuned",
        "description": f"At most {_percent(proof.answered.max_error)} of the answered questions wrong"
        + (f", and at most {_percent(shown.max_error)} of those answered or hedged" if shown else "")
        + f", with confidence {proof.confidence:g}.",
        "rules": rules_of(proof.answered.threshold, shown.threshold if shown else None, familiar=bool(proof.familiar)),
        "proof": proof.model_dump(mode="json", exclude_none=True),
    }
    # allow_unicode stays off: YAML reads some characters of a command, U+0085 among them, as line breaks unless escaped
    return _HEAD + yaml.safe_dump(content, sort_keys=False, default_flow_style=None, width=120)


def rules_of(answered: float, shown: float | None = None, *, familiar: bool = False) -> list[dict[str, Any]]:
    """The rules under which exactly the answers that were counted are shown, as a policy file has them.

    answered, shown: thresholds on p_correct; without the second nothing is hedged. familiar: show answers to questions like
    those of the calibration alone.
    """
    counted: dict[str, Any] = {"in_range": True, **({"familiar": True} if familiar else {})}
    rules: list[dict[str, Any]] = [
        {
            "name": "unscored",
            "when": {"unscored": True},
            "then": "abstain",
            "because": "how sure the model is could not be measured",
        },
        {"name": "proven", "when": {"confidence": {"at_least": answered}, **counted}, "then": "answer"},
    ]
    if shown is not None:
        rules.append({"name": "unsure", "when": {"confidence": {"at_least": shown}, **counted}, "then": "hedge"})
    rules.append({"name": "rest", "then": "abstain", "because": "answers this unsure are wrong too often"})
    return rules


def first_unproven(proof: Proof, rules: tuple[AnyRule, ...]) -> tuple[int, str] | None:
    """The first rule that is not the one that the proof is about, by its index, and what should stand there; None: all are.

    Names, reasons and wording are free. Even a stricter rule is refused: answering fewer may leave the wrong ones.
    """
    shown = proof.shown.threshold if proof.shown else None
    proven = rules_of(proof.answered.threshold, shown, familiar=bool(proof.familiar))
    for index, wanted in enumerate(proven):
        when = When.model_validate(wanted.get("when", {}))
        if index == len(rules) or (rules[index].for_, rules[index].when, rules[index].then) != (
            "answer",
            when,
            wanted["then"],
        ):
            conditions = f"when: {_flow(wanted['when'])}, " if "when" in wanted else ""
            return index, f"'{conditions}then: {wanted['then']}'"
    return (len(proven), "no further rule") if len(rules) > len(proven) else None


def _percent(share: float) -> str:
    return f"{share * 100:.4g} %"


def _flow(value: Any) -> str:
    """A condition as YAML has it on one line."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_flow(part)}" for key, part in value.items()) + "}"
    return "true" if value is True else f"{value}"
