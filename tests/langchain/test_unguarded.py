"""Guard wording never stands in for a summary or a query: an unguarded twin, errors, and LangChain's own calls told apart."""

from __future__ import annotations

import asyncio

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import SummarizationMiddleware
from langchain_core.messages import AIMessage, HumanMessage

from guardrail.errors import LowConfidenceError
from guardrail.langchain import ChatGuarded, read_metadata
from guardrail.langchain.metadata import is_judged
from guardrail.testing import tiny_local_model
from tests.langchain.test_chat_leaks import NEVER, Everything, surfaces, written

LOCAL = tiny_local_model(vocab_size=261, max_position_embeddings=4096)
PROMPT = [HumanMessage("Tell me a joke about cats.")]
SAID = LOCAL.generate([{"role": "user", "content": PROMPT[0].content}], max_new_tokens=24).text
INTERNAL = {"metadata": {"lc_source": "summarization"}}


def holding(**options):
    return ChatGuarded(model=LOCAL, policy=NEVER, max_tokens=24, **options)


def test_the_twin_says_what_the_model_says_and_nobody_takes_it_for_judged(invoke):
    twin = holding().unguarded()
    message = invoke(twin, PROMPT)
    assert (message.text, read_metadata(message), is_judged(message)) == (SAID, None, False)
    assert twin.local is LOCAL
    assert message.usage_metadata["output_tokens"] == 24
    assert len(invoke(twin, PROMPT, max_tokens=3).text) < len(SAID)


@pytest.mark.parametrize("name", [name for name, _ in surfaces(None)])
def test_an_abstention_as_an_error_shows_nothing_either(name):
    handler = Everything()
    with pytest.raises(LowConfidenceError, match="abstains") as error:
        dict(surfaces(holding(raise_on_abstain=True)))[name]({"callbacks": [handler]})
    assert error.value.verdict.action == "abstain"
    for seen in (str(error.value), repr(error.value), "\n".join(handler.heard)):
        assert written(SAID[:6]) not in seen


def test_what_langchain_asks_for_itself_gets_no_wording(invoke):
    with pytest.raises(LowConfidenceError, match=r"unguarded\(\)"):
        invoke(holding(), PROMPT, config=INTERNAL)
    free = ChatGuarded(model=LOCAL, policy="observe", max_tokens=24)
    assert invoke(free, PROMPT, config=INTERNAL).text == SAID
    with pytest.raises(LowConfidenceError):
        holding().batch([PROMPT, PROMPT], INTERNAL)


@pytest.mark.parametrize("mode", ["sync", "async", "messages"])
def test_a_conversation_is_never_replaced_by_an_abstention(mode):
    """With `SummarizationMiddleware`: the guarded model is refused there, its twin is taken."""
    history = [HumanMessage("I am Ada."), AIMessage("Good day."), HumanMessage("I like cats."), AIMessage("So do I.")]
    asked = {"messages": [*history, *PROMPT]}

    def run(model):  # `messages` makes LangChain stream what `invoke` is asked for
        summary = SummarizationMiddleware(model=model, trigger=("messages", 3), keep=("messages", 1))
        agent = create_agent(holding(), [], middleware=[summary])
        if mode == "messages":
            return list(agent.stream(asked, stream_mode=["messages", "values"]))[-1][1]
        return asyncio.run(agent.ainvoke(asked)) if mode == "async" else agent.invoke(asked)

    with pytest.raises(LowConfidenceError, match="summarization"):
        run(holding())
    first, *_, last = run(holding().unguarded())["messages"]
    assert "summary" in first.text
    assert "No." not in first.text.split("\n")
    assert last.text == "No."
