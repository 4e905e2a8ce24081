"""Nothing of what the model said under an abstaining policy is on any surface: text, events, callbacks, metadata, calls."""

from __future__ import annotations

import asyncio
import json
import warnings

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import HumanMessage
from langchain_core.output_parsers import StrOutputParser

from guardrail import Policy
from guardrail.langchain import ChatGuarded, read_metadata
from guardrail.testing import tiny_local_model
from tests.helpers.calling_model import BESIDE, CALLS, calling_model, said

calls_tools = pytest.mark.xdist_group("calling_model")
LOCAL = tiny_local_model(vocab_size=261, max_position_embeddings=1024)
NEVER = Policy.from_text(
    "version: 1\nname: never\nrules:\n  - {name: never, then: abstain, say: 'No.'}\n", "never.yaml"
)
PROMPT = [HumanMessage("Tell me a joke about cats.")]


class Everything(BaseCallbackHandler):
    """Keeps whatever LangChain tells a handler."""

    def __init__(self):
        self.heard = []

    def on_llm_new_token(self, token, *, chunk=None, **kwargs):
        self.heard += [token, repr(chunk)]

    def on_stream_event(self, event, **kwargs):
        self.heard.append(repr(event))

    def on_llm_end(self, response, **kwargs):
        self.heard.append(repr(response))

    def on_custom_event(self, name, data, **kwargs):
        self.heard.append(json.dumps([name, data]))


@pytest.fixture(scope="module")
def secret():
    """What the model says; all of it is text that would be seen if it leaked."""
    text = LOCAL.generate([{"role": "user", "content": PROMPT[0].content}], max_new_tokens=24).text
    assert len(text) > 8
    return text


def holding(model=LOCAL, max_tokens=24, **options):
    return ChatGuarded(model=model, policy=NEVER, max_tokens=max_tokens, **options)


def written(text):
    """A text as it stands in the representation of a message."""
    return repr(text)[1:-1]


async def collect(stream):
    return [item async for item in stream]


def surfaces(chat):
    yield "invoke", lambda c: chat.invoke(PROMPT, c)
    yield "ainvoke", lambda c: asyncio.run(chat.ainvoke(PROMPT, c))
    yield "stream", lambda c: list(chat.stream(PROMPT, c))
    yield "astream", lambda c: asyncio.run(collect(chat.astream(PROMPT, c)))
    yield "batch", lambda c: chat.batch([PROMPT, PROMPT], c)
    yield "abatch", lambda c: asyncio.run(chat.abatch([PROMPT, PROMPT], c))
    yield "generate", lambda c: chat.generate([PROMPT, PROMPT], **c)
    yield "astream_events v2", lambda c: asyncio.run(collect(chat.astream_events(PROMPT, c, version="v2")))
    yield "astream_events v3", lambda c: asyncio.run(third_version(chat, c))
    yield "stream_events v3", lambda c: list(chat.stream_events(PROMPT, c, version="v3"))
    yield "astream_log", lambda c: asyncio.run(collect(chat.astream_log(PROMPT, c)))
    yield "chain", lambda c: list((chat | StrOutputParser()).stream(PROMPT, c))


async def third_version(chat, config):
    return await collect(await chat.astream_events(PROMPT, config, version="v3"))


def drive(chat, name):
    handler = Everything()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # v3 and astream_log are beta
        out = dict(surfaces(chat))[name]({"callbacks": [handler]})
    return repr(out), "\n".join(handler.heard)


@pytest.mark.parametrize("name", [name for name, _ in surfaces(None)])
def test_held_back(secret, name):
    out, heard = drive(holding(), name)
    assert "No." in out
    for seen in (out, heard):
        assert written(secret[:6]) not in seen
        assert written(secret) not in seen


@pytest.mark.parametrize("name", [name for name, _ in surfaces(None)])
def test_the_test_would_see_a_leak(secret, name):
    out, heard = drive(ChatGuarded(model=LOCAL, policy="observe", max_tokens=24), name)
    assert written(secret) in out
    assert written(secret) in heard


def test_passthrough_streams_and_says_that_it_does(secret):
    chat = holding(stream_policy="passthrough")
    chunks = list(chat.stream(PROMPT))
    assert len(chunks) > 4
    merged = sum(chunks[1:], chunks[0])
    assert merged.content == secret
    metadata = read_metadata(merged)
    assert (metadata["action"], metadata["enforced"]) == ("abstain", False)
    assert [read_metadata(c) for c in chunks[:-1]] == [None] * (len(chunks) - 1)
    assert chat.invoke(PROMPT).content == "No."  # what does not stream is held
    later = asyncio.run(collect(chat.astream(PROMPT)))
    assert [c.content for c in later] == [c.content for c in chunks]


@calls_tools
@pytest.mark.parametrize("stream_policy", ["answer", "passthrough"])
def test_held_calls_of_tools(stream_policy):
    chat = holding(calling_model(), 100, stream_policy=stream_policy)
    tool = {
        "type": "function",
        "function": {"name": "get_weather", "description": "x", "parameters": {"type": "object"}},
    }
    judged = chat.bind_tools([tool], score_tool_calls=True)
    for out in (judged.invoke(PROMPT), *judged.batch([PROMPT] * 2), sum_of(judged.stream(PROMPT))):
        assert (out.content, out.tool_calls, out.invalid_tool_calls) == ("No.", [], [])
        assert "Rome" not in repr(out)
    passed = chat.bind_tools([tool])
    for out in (passed.invoke(PROMPT), sum_of(passed.stream(PROMPT))):
        assert [(c["name"], c["args"]) for c in out.tool_calls] == [("get_weather", CALLS["get_weather"])]
        assert BESIDE.strip() not in repr(out)  # the text beside the call is judged by nobody
        assert read_metadata(out)["unscored"] == "tool_call"
        assert out.response_metadata["finish_reason"] == "tool_calls"


@calls_tools
def test_calls_that_are_judged_and_let_through():
    chat = ChatGuarded(model=calling_model(), policy="observe", score_tool_calls=True)
    tool = {
        "type": "function",
        "function": {"name": "get_weather", "description": "x", "parameters": {"type": "object"}},
    }
    message = chat.bind_tools([tool]).invoke(PROMPT)
    assert message.content == BESIDE.strip()
    assert message.tool_calls[0]["args"] == CALLS["get_weather"]
    assert read_metadata(message)["score"]["hybridgrad"] > 0


@calls_tools
def test_structured_output_is_judged():
    from pydantic import BaseModel

    class Joke(BaseModel):
        setup: str
        punchline: str

    free = ChatGuarded(model=calling_model(), policy="observe", max_tokens=100)
    assert free.with_structured_output(Joke).invoke(PROMPT) == Joke(**CALLS["Joke"])
    held = holding(calling_model(), 100).with_structured_output(Joke, include_raw=True).invoke(PROMPT)
    assert held["parsed"] is None
    assert held["raw"].content == "No."
    assert said("Joke") not in repr(held)


def sum_of(chunks):
    first, *rest = chunks
    return sum(rest, first)
