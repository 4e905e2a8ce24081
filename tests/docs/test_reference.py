"""The generated pages of the reference are up to date, and the schemas accept what the project reads and writes."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from pydantic import TypeAdapter

from guardrail.types import UNSCORED_REASONS
from tests.docs.reference import generated
from tests.docs.verdict_json import VerdictJson
from tests.helpers import sample_verdicts

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("file", generated(), ids=lambda file: file.name)
def test_the_file_is_what_the_script_writes(file: Path) -> None:
    assert file.read_text(encoding="utf-8") == generated()[file], "run: python -m tests.docs.reference"


@pytest.mark.parametrize("name", sample_verdicts.ALL)
def test_the_schema_of_a_verdict_accepts_each_of_them(name: str) -> None:
    text = json.dumps(sample_verdicts.ALL[name]().to_dict())
    value = json.loads(text, parse_constant=lambda _: None)
    assert TypeAdapter(VerdictJson).validate_python(value)["action"] == value["action"]


def test_the_policy_page_has_every_reason_for_no_score() -> None:
    page = (ROOT / "docs/reference/policy.md").read_text(encoding="utf-8")
    listed = page.partition("## Why an answer has no score")[2]
    assert re.findall(r"^\| `(\w+)` \|", listed, re.MULTILINE) == list(UNSCORED_REASONS)
