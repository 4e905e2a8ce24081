"""Byte-order marks of files whose text somebody pasted or piped in become no tokens, wherever the text enters."""

from __future__ import annotations

import pytest

from guardrail import Guard
from guardrail.messages import as_messages
from guardrail.testing import tiny_local_model

BOM = "\ufeff"


@pytest.fixture(scope="module")
def guard():
    return Guard(model=tiny_local_model(), policy="observe")


def said(verdict):
    trace = verdict.attempts[-1].trace
    return trace.messages, trace.prompt_ids


@pytest.mark.parametrize("form", [BOM + "{}", "{}" + BOM, BOM * 2 + "{}\n" + BOM])
def test_in_a_question_and_a_system_message(guard, form):
    clean = said(guard.check("Where is Lyon?", "In France", system="Be brief."))
    question, system = form.format("Where is Lyon?"), form.format("Be brief.")
    if "\n" in form:
        question, system = question.replace("\n", ""), system.replace("\n", "")
    assert said(guard.check(question, "In France", system=system)) == clean
    assert said(guard.answer(question, system=system, max_new_tokens=2)) == clean


def test_in_messages_of_every_role_and_in_parts():
    roles = ("system", "user", "assistant", "tool", "developer")
    talk = [{"role": role, "content": f"{BOM}One{BOM}\nTwo"} for role in roles]
    talk.append(
        {"role": "user", "content": [{"type": "text", "text": BOM + "One"}, {"type": "text", "text": BOM + "\nTwo"}]}
    )
    assert {m["content"] for m in as_messages(talk)} == {"One\nTwo"}


@pytest.mark.parametrize("question", [BOM, BOM + " ", "\u200b\n", "\u2800"])
def test_a_question_of_nothing_that_can_be_seen_is_none(cli, question):
    found = cli("ask", "--", question)
    assert (found.returncode, found.stderr) == (1, "error: the question is empty\n")
