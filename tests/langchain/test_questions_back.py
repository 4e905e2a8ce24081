"""A question back through LangChain: the message holds it and nothing of the answer, and an agent's run ends there."""

from __future__ import annotations

import pytest
from langchain_core.messages import HumanMessage

from guardrail import Guard
from guardrail.actions import DEFAULT_ASK_BACK
from guardrail.errors import LowConfidenceError
from guardrail.langchain import ChatGuarded, read_metadata
from guardrail.langchain.middleware import GuardrailMiddleware
from guardrail.policy import Policy
from guardrail.testing import tiny_local_model

POLICY = """
version: 1
name: mine
ambiguity: {above: -1000000, scorer: ln-pe, samples: 2}
rules:
  - {name: unclear, when: {ambiguous: true}, then: ask_back}
"""


@pytest.fixture(scope="module")
def guard():
    return Guard(model=tiny_local_model(max_position_embeddings=1024), policy=Policy.from_text(POLICY, "mine.yaml"))


def test_every_surface_holds_the_question_back_alone(guard):
    chat = ChatGuarded.from_guard(guard, max_tokens=6)
    message = chat.invoke("What is it?")
    verdict = read_metadata(message)
    assert (message.text, verdict["action"]) == (DEFAULT_ASK_BACK, "ask_back")
    assert "".join(chunk.text for chunk in chat.stream("What is it?")) == DEFAULT_ASK_BACK
    with pytest.raises(LowConfidenceError, match="policy 'mine' asks back: the question is ambiguous"):
        ChatGuarded.from_guard(guard, max_tokens=6, raise_on_abstain=True).invoke("What is it?")


def test_an_agents_run_ends_or_a_person_is_asked(guard):
    message = ChatGuarded.from_guard(guard, max_tokens=6).invoke("What is it?")
    state = {"messages": [HumanMessage("What is it?"), message]}
    assert GuardrailMiddleware().after_model(state, None) == {"jump_to": "end"}
    assert GuardrailMiddleware(escalate={"ask_back"}).escalate == {"ask_back"}
