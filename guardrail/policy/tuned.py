"""A proof -> the policy file that carries it. Knows nothing about how the proof was found."""

from __future__ import annotations

from typing import Any

import yaml

from guardrail.policy.proof import Proof, rules_of

_HEAD = """\
# Written by guardrail tune. The rules show exactly the answers that the proof below has counted. Wording is yours (`because`,
# `say`, `wording`); other rules, and another calibrator, are refused as long as `proof` stands here.
# The promise is about new questions of the same kind, answered greedily to the calibrator's prompt, as the grader grades.
"""


def policy_text(proof: Proof, name: str = "tuned") -> str:
    """A policy file, version 1, under the rules of the proof; `Policy.from_text` reads it back."""
    shown = proof.shown
    content: dict[str, Any] = {
        "version": 1,
        "name": name,
        "description": f"At most {_percent(proof.answered.max_error)} of the answered questions wrong"
        + (f", and at most {_percent(shown.max_error)} of those answered or hedged" if shown else "")
        + f", with confidence {proof.confidence:g}.",
        "rules": rules_of(proof.answered.threshold, shown.threshold if shown else None),
        "proof": proof.model_dump(mode="json", exclude_none=True),
    }
    # allow_unicode stays off: YAML reads some characters of a command, U+0085 among them, as line breaks unless escaped
    return _HEAD + yaml.safe_dump(content, sort_keys=False, default_flow_style=None, width=120)


def _percent(share: float) -> str:
    return f"{share * 100:.4g} %"
