"""Questions of which a model gets about half right, however bad it is."""

from __future__ import annotations

import json
from pathlib import Path

from guardrail.model.local import LocalModel
from guardrail.runs.prompts import DIRECT

TOKENS = 6
"""The longest answer that is accepted, in tokens."""


def half_right(local: LocalModel, numbers: range, path: Path) -> Path:
    """A file of questions about these numbers, whose accepted answers are the model's own for every other one."""
    rows = []
    for i in numbers:
        question = f"What is number {i}?"
        said = local.generate(DIRECT.replace("{question}", question), max_new_tokens=TOKENS).text
        right = i % 2 == 0 and any(c.isalnum() for c in said)
        rows.append({"question": question, "answers": [said if right else "nothing like it"], "id": i})
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path
