"""`--chat-template-kwargs`: JSON that reaches the chat template."""

from __future__ import annotations

import json

import pytest

from guardrail.testing import CHATML

STYLED = CHATML.replace("assistant\n", "assistant\n{{ style }}")


@pytest.mark.parametrize("given", ["enable_thinking=false", "[1]", '"on"', "{"])
def test_what_is_no_json_object_is_refused_before_the_model_loads(cli, given):
    done = cli("ask", "Who?", "--chat-template-kwargs", given)
    assert done.returncode == 1
    assert "give a JSON object" in done.stderr


def test_switches_reach_the_template(cli, tiny_folder, tmp_path):
    template = tmp_path / "template.jinja"
    template.write_text("\ufeff" + STYLED, encoding="utf-8")
    arguments = ("model", "inspect", tiny_folder, "--json", "--chat-template", template)
    plain = json.loads(cli(*arguments).stdout)
    switched = json.loads(cli(*arguments, "--chat-template-kwargs", '{"style": "short"}').stdout)
    assert switched["semantic_token"]["offset"] == plain["semantic_token"]["offset"] - len("short")
    assert switched["chat_template_hash"] != plain["chat_template_hash"]
    assert plain["end_of_turn"] == ["<|im_end|>"]
    template.write_text(STYLED, encoding="utf-8")
    assert json.loads(cli(*arguments).stdout)["chat_template_hash"] == plain["chat_template_hash"]
