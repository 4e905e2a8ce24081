"""A chat model that thinks first: its thoughts are no content, on no surface."""

from __future__ import annotations

import pytest

from guardrail import ModelError
from guardrail.langchain import ChatGuarded
from tests.helpers.thinkers import saying, thinker

THOUGHT = "<think>Lyon, or not?</think>\n\nParis is it."


@pytest.mark.parametrize("stream_policy", ["answer", "passthrough"])
def test_the_thought_is_reasoning_content_and_never_content(stream_policy, monkeypatch):
    local = saying(thinker("qwen"), THOUGHT, monkeypatch)
    chat = ChatGuarded(model=local, policy="observe", stream_policy=stream_policy)
    message = chat.invoke("Hello")
    assert message.content == "Paris is it."
    assert message.additional_kwargs["reasoning_content"] == "Lyon, or not?"
    chunks = list(chat.stream("Hello"))
    assert "".join(chunk.content for chunk in chunks) == "Paris is it."
    assert [c.additional_kwargs for c in chunks if c.additional_kwargs] == [{"reasoning_content": "Lyon, or not?"}]
    assert message.usage_metadata["output_tokens"] > len("Paris is it.") + len("Lyon, or not?")


def test_the_thought_behind_a_held_back_answer_is_held_back(monkeypatch):
    local = saying(thinker("qwen"), "<think>Lyon, or not? I wonder and wonder", monkeypatch)
    chat = ChatGuarded(model=local, policy="observe", max_tokens=20)
    message = chat.invoke("Hello")
    assert message.response_metadata["guardrail"]["unscored"] == "unfinished_thinking"
    assert "Lyon" not in str(message)


def test_switches_say_how_to_load_a_model():
    with pytest.raises(ModelError, match="chat_template_kwargs says how to load a model"):
        ChatGuarded(model=thinker("qwen"), policy="observe", chat_template_kwargs={"enable_thinking": False})
