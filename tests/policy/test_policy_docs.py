"""The examples of docs/reference/policy.md, run."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from guardrail.cli.main import app
from guardrail.policy import Policy
from guardrail.policy.conditions import ClaimsCondition, ClaimWhen, When
from tests.helpers.policy_answers import SCORED, sure

TEXT = (Path(__file__).parents[2] / "docs" / "reference" / "policy.md").read_text(encoding="utf-8")
FILES = re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL)
COMMANDS = re.findall(r"^\$ guardrail (.*)\n(.*)$", TEXT, re.MULTILINE)


def test_every_file_loads_without_a_warning() -> None:
    mine, routed, retrying, claims = (Policy.from_text(text, "docs/reference/policy.md") for text in FILES)
    assert mine.warnings == claims.warnings == routed.warnings == retrying.warnings == ()
    assert retrying.decide(sure(0.4), SCORED, no_retry="").prefix == "Step by step:"
    assert routed.decide(sure(0.4), SCORED, no_escalation="").action == "escalate"
    assert mine.decide_claim(sure(0.5), SCORED).template == "{answer} (check this, {confidence})"
    assert mine.decide(sure(0.6), SCORED).rule == "sure"
    assert claims.decide_claim(sure(0.4), SCORED).action == "retrieve"
    assert claims.decide(sure(0.4), SCORED, claims=[sure(0.9), sure(0.1), sure(0.9)]).rule == "one weak claim"


@pytest.mark.parametrize(("command", "printed"), COMMANDS)
def test_commands_print_what_stands_there(command: str, printed: str) -> None:
    assert CliRunner().invoke(app, shlex.split(command)).output == printed + "\n"


def test_every_condition_is_in_the_tables() -> None:
    rows = {
        name: row
        for row in TEXT.splitlines()
        for name in re.findall(r"`(\w+)`", row.split("|")[1] if "|" in row else "")
    }
    for key in {*When.keys(), *ClaimWhen.keys(), *ClaimsCondition.keys()}:
        assert key in rows, key
    for key, row in rows.items():
        cells = [cell.strip() for cell in row.split("|")]
        if {"yes"} & set(cells[2:4]):
            assert (cells[2] == "yes", cells[3] == "yes") == (key in set(When.keys()), key in set(ClaimWhen.keys())), (
                key
            )
