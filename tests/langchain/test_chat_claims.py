"""Claims on LangChain's surfaces: streamed one by one, in the metadata, and nothing of a dropped one anywhere."""

from __future__ import annotations

import asyncio
import json

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.runnables import RunnableLambda

from guardrail.errors import ModelError
from guardrail.langchain import ChatGuarded
from guardrail.langchain.metadata import is_judged, read_metadata
from guardrail.langchain.reply import reply_to
from guardrail.langchain.tool_calls import parse_tool_calls
from tests.helpers.langchain_doubles import Passages
from tests.helpers.scripted_claims import ANSWER, QUESTION, france, guarded, half_sure, ruled


def chat(stream_policy="claim", guard=None, **options):
    return ChatGuarded.from_guard(guard or guarded(france()), stream_policy=stream_policy, **options)


def dropped():
    words = [c.text.removeprefix("Also, ") for c in guarded(france()).answer(QUESTION).claims if c.action == "drop"]
    assert words
    return words


class Everything(BaseCallbackHandler):
    """All that callbacks are told, as text."""

    def __init__(self):
        self.told = ""

    def on_llm_new_token(self, token, **kwargs):
        self.told += token + repr(kwargs)

    def on_llm_end(self, response, **kwargs):
        self.told += repr(response)

    def on_custom_event(self, name, data, **kwargs):
        self.told += json.dumps(data)


@pytest.mark.parametrize("asynchronous", [False, True])
def test_claims_stream_and_dropped_ones_are_on_no_surface(asynchronous):
    made, told = chat(), Everything()

    async def read():
        return [chunk async for chunk in made.astream(QUESTION, {"callbacks": [told]})]

    chunks = asyncio.run(read()) if asynchronous else list(made.stream(QUESTION, {"callbacks": [told]}))
    message = sum(chunks[1:], chunks[0])
    metadata = read_metadata(message)
    assert message.text == guarded(france()).answer(QUESTION).text
    assert len([chunk for chunk in chunks if chunk.text]) > 1
    assert (metadata["enforced"], is_judged(message)) == (True, True)
    for words in dropped():
        assert words not in repr(chunks) + told.told
    kept = [claim for claim in metadata["claims"] if claim["action"] == "keep"]
    assert all(claim["shown"] in message.text and claim["text"] for claim in kept)
    json.dumps(metadata, allow_nan=False)


def test_no_event_of_a_chain_has_a_dropped_claim():
    async def events():
        chain = RunnableLambda(lambda q: q) | chat()
        return [event async for event in chain.astream_events(QUESTION, version="v2")]

    seen = repr(asyncio.run(events()))
    assert not any(words in seen for words in dropped())


@pytest.mark.parametrize("rule", ["abstain", "hedge"])
def test_a_rule_on_the_whole_that_came_too_late_is_said(rule):
    made = chat(guard=guarded(france(), ruled(f"{{name: late, then: {rule}}}")))
    chunks = list(made.stream(QUESTION))
    message = sum(chunks[1:], chunks[0])
    metadata = read_metadata(message)
    assert (metadata["action"], metadata["enforced"], is_judged(message)) == (rule, False, False)
    assert not any(words in repr(chunks) for words in dropped())
    held = made.invoke(QUESTION)  # invoke waits for the verdict
    assert (read_metadata(held)["action"], read_metadata(held)["enforced"]) == (rule, True)


def test_the_original_only_where_it_is_asked_for():
    texts = [c["text"] for c in read_metadata(chat("answer", include_original=True).invoke(QUESTION))["claims"]]
    assert None not in texts
    message = chat("answer").invoke(QUESTION)
    hidden = [c for c in read_metadata(message)["claims"] if c["text"] is None]
    assert {(c["action"], c["shown"]) for c in hidden} == {("drop", "")}
    assert not any(words in repr(message) for words in dropped())


def test_calls_whose_claims_were_changed_do_not_pass():
    verdict = guarded(france()).answer(QUESTION)
    assert verdict.text != verdict.answer == ANSWER
    parsed = parse_tool_calls('<tool_call>{"name": "f", "arguments": {"x": 1}}</tool_call>', {"f"})
    assert parsed.calls
    reply = reply_to(verdict, parsed, enforced=True, include_original=False)
    assert (reply.calls, reply.text) == ((), verdict.text)


def test_what_cannot_stream_claims_is_refused():
    with pytest.raises(ModelError, match="reads whole answers"):
        ChatGuarded(model=france(), policy="observe", claims="atomic", stream_policy="claim")
    with pytest.raises(ModelError, match="no claim extractor 'words'"):
        ChatGuarded(model=france(), policy="observe", claims="words")
    built = ChatGuarded(model=france(), policy="per_claim", claim_calibrator=half_sure(france()))
    assert built.model_copy(update={"stream_policy": "claim"}).cache is False


class Traced(Everything):
    """Also the runs of retrievers, which a query names."""

    def on_retriever_start(self, serialized, query, **kwargs):
        self.told += repr((query, kwargs))

    def on_retriever_end(self, documents, **kwargs):
        self.told += repr(documents)

    def on_retriever_error(self, error, **kwargs):
        self.told += repr(error)


@pytest.mark.parametrize("way", ["chat", "chat, async", "chat, streamed", "a Guard in a chain"])
def test_the_claims_that_are_looked_up_reach_no_tracer(way):
    """A query is a claim, and what it finds says whether the claim is shown."""
    told, index = Traced(), Passages(found=["Nothing of the kind."], queries=[])
    guard = guarded(france(), retriever=index)
    config = {"callbacks": [told]}
    if way == "a Guard in a chain":
        RunnableLambda(lambda question: guard.answer(question).text).invoke(QUESTION, config)
    elif way == "chat, async":
        asyncio.run(chat("answer", guard).ainvoke(QUESTION, config))
    elif way == "chat, streamed":
        list(chat("claim", guard).stream(QUESTION, config))
    else:
        chat("answer", guard).invoke(QUESTION, config)
    assert index.queries
    for query in index.queries:
        assert query not in told.told
