"""What a `ChatGuarded` refuses to become: settings that the guard would not follow, a cache of unjudged text."""

from __future__ import annotations

import asyncio

import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.globals import set_llm_cache
from langchain_core.messages import HumanMessage

from guardrail import ModelError, Policy
from guardrail.langchain import ChatGuarded, read_metadata
from guardrail.testing import tiny_local_model

LOCAL = tiny_local_model(vocab_size=261, max_position_embeddings=1024)
NEVER = Policy.from_text(
    "version: 1\nname: never\nrules:\n  - {name: never, then: abstain, say: 'No.'}\n", "never.yaml"
)


def chat(**options):
    return ChatGuarded(model=LOCAL, policy="observe", max_tokens=4, **options)


@pytest.mark.parametrize(
    "field", ["model", "policy", "calibrator", "retriever", "scorer", "observers", "chat_template"]
)
def test_what_the_guard_is_made_of_does_not_change(field):
    made = chat()
    with pytest.raises(ModelError, match=f"{field} cannot change"):
        setattr(made, field, NEVER)
    with pytest.raises(ModelError, match=f"{field} cannot change"):
        made.model_copy(update={field: NEVER})
    assert getattr(made, field) is getattr(made.model_copy(update={field: getattr(made, field)}), field)


def test_what_a_call_may_change_does():
    made = chat()
    made.max_tokens = 2
    assert made.invoke("Who?").usage_metadata["output_tokens"] == 2
    assert made.model_copy(update={"max_tokens": 3}).invoke("Who?").usage_metadata["output_tokens"] == 3


def test_passthrough_takes_no_cache():
    for cache in (InMemoryCache(), True):
        with pytest.raises(ModelError, match="takes no cache"):
            chat(stream_policy="passthrough", cache=cache)
    live, held = chat(stream_policy="passthrough"), chat(cache=InMemoryCache())
    with pytest.raises(ModelError, match="takes no cache"):
        live.cache = InMemoryCache()
    with pytest.raises(ModelError, match="takes no cache"):
        held.stream_policy = "passthrough"
    with pytest.raises(ModelError, match="takes no cache"):
        held.model_copy(update={"stream_policy": "passthrough"})
    assert chat().model_copy(update={"stream_policy": "passthrough"}).cache is False
    assert chat().cache is None


def test_what_passed_through_is_in_no_global_cache():
    """LangChain makes `invoke` stream for `astream_events` and caches what it streamed."""
    live = ChatGuarded(model=LOCAL, policy=NEVER, max_tokens=4, stream_policy="passthrough")

    async def streamed():
        return [event async for event in live.astream_events([HumanMessage("Who?")], version="v2")]

    cache = InMemoryCache()
    set_llm_cache(cache)
    try:
        assert any(e["event"] == "on_chat_model_stream" for e in asyncio.run(streamed()))
        message = live.invoke([HumanMessage("Who?")])
    finally:
        set_llm_cache(None)
    assert (message.content, read_metadata(message)["enforced"]) == ("No.", True)
    assert cache._cache == {}


@pytest.mark.parametrize("most", [0, -1])
def test_a_batch_of_no_size(most):
    with pytest.raises(ModelError, match=f"max_concurrency is {most}"):
        chat().batch(["a", "b"], {"max_concurrency": most})
    with pytest.raises(ModelError, match=f"max_concurrency is {most}"):
        asyncio.run(chat().abatch(["a", "b"], {"max_concurrency": most}))
