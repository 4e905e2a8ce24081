"""The records of what a chain answered: in which context, and how. Needs neither model nor torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from guardrail.calibration.contexts import Setting, context_of, plain_question

PROMPT = "{question}"
"""The prompt of a calibration through a chain: it has none of its own, so a plain question is one that stands alone."""


def setting_in(record: Mapping[str, Any]) -> Setting:
    """How the answer of a record was given."""
    return Setting(float(record["temperature"]), tuple(record["tools"]), bool(record["constrained"]))


def context_in(record: Mapping[str, Any], prompt: str = PROMPT, system: str | None = None) -> str:
    """The context of a record's answer, for a calibration with this prompt and system message."""
    messages = record["messages"]
    return context_of(
        messages,
        plain=plain_question(messages, prompt, system) is not None,
        evidence=bool(record["passages"]),
        tools=bool(record["tools"]),
        thinking=bool(record["thinking"]),
    )
