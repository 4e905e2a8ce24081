"""`guardrail ask --schema`: the answer is kept to it, and each field is shown with what is known of it."""

from __future__ import annotations

import json

import pytest

SCHEMA = {
    "type": "object",
    "properties": {"size": {"enum": ["big", "small"]}, "sea": {"type": "boolean"}},
    "required": ["size", "sea"],
}


@pytest.mark.parametrize(
    ("text", "told"),
    [("{", "is not JSON"), ("[1]", "holds list, and a JSON schema is an object"), (None, "cannot read")],
)
def test_what_is_no_schema_is_refused_before_the_model_loads(cli, tmp_path, text, told):
    if text is not None:
        (tmp_path / "s.json").write_text(text)
    done = cli("ask", "Who?", "--schema", "s.json", "--model", "nowhere/to-be-found")
    assert done.returncode == 1
    assert told in done.stderr
    assert "s.json" in done.stderr


def test_fields_are_kept_to_it_and_shown(cli, tiny_folder, tmp_path):
    (tmp_path / "s.json").write_text(json.dumps(SCHEMA))
    asked = (
        "ask",
        "How big?",
        "--schema",
        "s.json",
        "--model",
        tiny_folder,
        "--policy",
        "observe",
        "--max-new-tokens",
        "40",
    )
    done = cli(*asked, "--json")
    assert done.returncode == 0, done.stderr
    verdict = json.loads(done.stdout)
    said = json.loads(verdict["answer"])
    assert said["size"] in ("big", "small")
    assert [claim["path"] for claim in verdict["claims"]] == ["/size", "/sea"]
    assert all(claim["score"]["length"] for claim in verdict["claims"])
    shown = cli(*asked).stdout
    assert verdict["answer"] in shown
    assert "What the model said, claim by claim" in shown
