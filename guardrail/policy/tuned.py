"""A proof -> the rules it is about, and the policy file that carries both."""

from __future__ import annotations

from typing import Any

import yaml

from guardrail.policy.conditions import ClaimWhen, When
from guardrail.policy.proof import ClaimsProof, Proof
from guardrail.policy.schema import AnyRule
from guardrail.policy.source import is_numeric

_HEAD = """\
# Written by guardrail tune. The rules show exactly the answers that the proof below has counted. Wording is yours (`because`,
# `say`, `wording`); other rules, and another calibrator, are refused as long as `proof` stands here.
# The promise is about new questions of the same kind, answered greedily to the calibrator's prompt, as the grader grades.
"""


_CLAIMS_HEAD = """\
# Written by guardrail tune. The rules for claims keep exactly the claims that the proof below has counted. Wording is yours
# (`because`, `say`, `wording`), and so are rules for answers, which only ever show less; other rules for claims, rules that
# retrieve, and another calibrator are refused as long as `claims_proof` stands here.
# The promise is about new questions of the same kind, answered greedily to the calibrator's prompt, and about claims that the
# facts of the tuning data could judge.
"""


def policy_text(proof: Proof | ClaimsProof) -> str:
    """A policy file, version 1, under the rules of the proof; `Policy.from_text` reads it back."""
    return _claims_text(proof) if isinstance(proof, ClaimsProof) else _answers_text(proof)


def _answers_text(proof: Proof) -> str:
    shown = proof.shown
    content: dict[str, Any] = {
        "version": 1,
        "name": "tuned",
        "description": f"At most {_percent(proof.answered.max_error)} of the answered questions wrong"
        + (f", and at most {_percent(shown.max_error)} of those answered or hedged" if shown else "")
        + f", with confidence {proof.confidence:g}.",
        "rules": _proven_rules(proof),
        "proof": proof.model_dump(mode="json", exclude_none=True),
    }
    return _HEAD + _dumped(content)


def _claims_text(proof: ClaimsProof) -> str:
    held = "on average" if proof.confidence is None else f"with confidence {proof.confidence:g}"
    content: dict[str, Any] = {
        "version": 1,
        "name": "tuned_claims",
        "description": f"At least {_percent(proof.all_right)} of the answers keep no wrong claim, {held}.",
        "rules": [*claim_rules_of(proof), *_RULES_FOR_ANSWERS],
        "claims_proof": proof.model_dump(mode="json", exclude_none=True),
    }
    return _CLAIMS_HEAD + _dumped(content)


def _dumped(content: dict[str, Any]) -> str:
    # allow_unicode stays off: YAML reads some characters of a command, U+0085 among them, as line breaks unless escaped
    return yaml.dump(content, Dumper=_Dumper, sort_keys=False, default_flow_style=None, width=120)


class _Dumper(yaml.SafeDumper):
    """Puts text into quotes that a policy would be read as having numbers of YAML 1.2 in, which PyYAML knows nothing of."""


def _quoted(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"' if is_numeric(text) else None)


_Dumper.add_representer(str, _quoted)


def rules_of(answered: float, shown: float | None = None, *, familiar: bool = False) -> list[dict[str, Any]]:
    """The rules under which exactly the answers that were counted are shown, as a policy file has them.

    answered, shown: thresholds on p_correct; without the second nothing is hedged. familiar: show answers to questions like
    those of the calibration alone.
    """
    counted = _counted(familiar)
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


def escalating_rules_of(threshold: float, *, familiar: bool = False) -> list[dict[str, Any]]:
    """The rules under which both models' answers are shown from a threshold on, and the second is asked below it.

    What of the first model is unscored, out of range or unlike the calibration is asked of the second, too.
    """
    keep = {"confidence": {"at_least": threshold}, **_counted(familiar)}
    return [
        {"name": "proven", "when": keep, "then": "answer"},
        {"name": "ask the second model", "then": "escalate"},
        {"name": "rest", "then": "abstain", "because": "answers this unsure are wrong too often"},
    ]


def _proven_rules(proof: Proof) -> list[dict[str, Any]]:
    familiar = bool(proof.familiar)
    if proof.second is not None:
        return escalating_rules_of(proof.answered.threshold, familiar=familiar)
    return rules_of(proof.answered.threshold, proof.shown.threshold if proof.shown else None, familiar=familiar)


def claim_rules_of(proof: ClaimsProof) -> list[dict[str, Any]]:
    """The rules under which exactly the claims that were counted are kept, as a policy file has them."""
    keep = {"confidence": {"at_least": proof.threshold}, **_counted(bool(proof.familiar))}
    return [
        {
            "name": "unscored claim",
            "for": "claim",
            "when": {"unscored": True},
            "then": "drop",
            "because": "how sure the model is of it could not be measured",
        },
        {"name": "proven claim", "for": "claim", "when": keep, "then": "keep"},
        {"name": "other claims", "for": "claim", "then": "drop", "because": "claims this unsure are wrong too often"},
    ]


_RULES_FOR_ANSWERS: list[dict[str, Any]] = [
    {
        "name": "unscored",
        "when": {"unscored": True},
        "then": "abstain",
        "because": "how sure the model is could not be measured",
    },
    {
        "name": "nothing to check",
        "when": {"claims": {"count": {"at_most": 0}}},
        "then": "abstain",
        "because": "nothing in it can be checked",
    },
    {"name": "judged by its claims", "when": {"claims": {"count": {"at_least": 1}}}, "then": "answer"},
]
"""Of the answers: what could not be judged is not shown. They promise nothing."""


_AGAIN = {"retrieve": "retrieves", "escalate": "escalates", "retry": "retries"}
"""What gives an answer again that the proof has not counted."""


def first_unproven_claims(proof: ClaimsProof, rules: tuple[AnyRule, ...]) -> tuple[int, str] | None:
    """The first rule that the proof does not allow, by its index, and what should stand there; None: all are allowed.

    The rules for claims are the proof's, in its order. A rule for answers may do anything but retrieve, escalate and retry: an
    answer that is not shown keeps no wrong claim, one that is given again, in whatever way, was not counted.
    """
    for_claims = [i for i, rule in enumerate(rules) if rule.for_ == "claim"]
    proven = claim_rules_of(proof)
    for index, wanted in enumerate(proven):
        if index == len(for_claims):
            return len(rules), _spelt(wanted)
        at = for_claims[index]
        if (rules[at].when, rules[at].then) != (ClaimWhen.model_validate(wanted.get("when", {})), wanted["then"]):
            return at, _spelt(wanted)
    if len(for_claims) > len(proven):
        return for_claims[len(proven)], "no further rule for claims"
    again = next((i for i, rule in enumerate(rules) if rule.then in _AGAIN), None)
    return None if again is None else (again, f"no rule that {_AGAIN[rules[again].then]}")


def first_unproven(proof: Proof, rules: tuple[AnyRule, ...]) -> tuple[int, str] | None:
    """The first rule that is not the one that the proof is about, by its index, and what should stand there; None: all are.

    Names, reasons and wording are free. Even a stricter rule is refused: answering fewer may leave the wrong ones.
    """
    proven = _proven_rules(proof)
    for index, wanted in enumerate(proven):
        when = When.model_validate(wanted.get("when", {}))
        if index == len(rules) or (rules[index].for_, rules[index].when, rules[index].then) != (
            "answer",
            when,
            wanted["then"],
        ):
            return index, _spelt(wanted)
    return (len(proven), "no further rule") if len(rules) > len(proven) else None


def _counted(familiar: bool) -> dict[str, Any]:
    return {"in_range": True, **({"familiar": True} if familiar else {})}


def _spelt(rule: dict[str, Any]) -> str:
    """A rule's condition and action as a file has them."""
    conditions = f"when: {_flow(rule['when'])}, " if "when" in rule else ""
    return f"'{conditions}then: {rule['then']}'"


def _percent(share: float) -> str:
    return f"{share * 100:.4g} %"


def _flow(value: Any) -> str:
    """A condition as YAML has it on one line."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_flow(part)}" for key, part in value.items()) + "}"
    return "true" if value is True else f"{value}"
