"""`timeout` on every surface of a guarded chat model: an error in time that fallbacks and retries catch, and nothing else."""

from __future__ import annotations

import asyncio
import time

import pytest
from langchain.agents import create_agent
from langchain_core.caches import InMemoryCache
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import HumanMessage
from langchain_core.runnables import ConfigurableField
from langchain_core.tools import tool

from guardrail.errors import DeadlineError
from guardrail.langchain import ChatGuarded, read_metadata
from guardrail.testing import tiny_local_model
from tests.helpers.calling_model import calling_model
from tests.helpers.langchain_doubles import UNSURE, Passages, judging
from tests.helpers.taken import taken
from tests.langchain.test_chat_leaks import Everything

LOCAL = tiny_local_model(vocab_size=261, max_position_embeddings=2**16)
BOUND = 20.0  # seconds; far more than a deadline of 0.2 s needs, far less than what it cuts short
SHORT, LONG = 0.2, 600.0
ENDLESS = 60_000  # tokens
ASKED = [HumanMessage("Tell me all.")]


def chat(max_tokens=ENDLESS, timeout=SHORT, **options):
    return ChatGuarded(model=LOCAL, policy="observe", max_tokens=max_tokens, timeout=timeout, **options)


async def gathered(chunks):
    return [chunk async for chunk in chunks]


CALLS = {
    "invoke": lambda c: c.invoke(ASKED),
    "stream": lambda c: list(c.stream(ASKED)),
    "batch": lambda c: c.batch([ASKED, ASKED, ASKED]),
    "generate": lambda c: c.generate([ASKED, ASKED]),
    "ainvoke": lambda c: asyncio.run(c.ainvoke(ASKED)),
    "astream": lambda c: asyncio.run(gathered(c.astream(ASKED))),
    "abatch": lambda c: asyncio.run(c.abatch([ASKED, ASKED, ASKED])),
    "agenerate": lambda c: asyncio.run(c.agenerate([ASKED, ASKED])),
    "events": lambda c: asyncio.run(gathered(c.astream_events(ASKED, version="v2"))),
}


def overdue(call):
    began = time.monotonic()
    with pytest.raises(DeadlineError, match=r"no verdict within the timeout of 0\.2 s"):
        call()
    assert time.monotonic() - began < BOUND


@pytest.mark.parametrize("name", CALLS)
def test_every_surface_ends_in_time(name):
    overdue(lambda: CALLS[name](chat()))
    assert chat(4, LONG).invoke("Who?").content == chat(4, None).invoke("Who?").content


@pytest.mark.parametrize("stream_policy", ["claim", "passthrough"])
@pytest.mark.parametrize("name", ["stream", "astream"])
def test_what_streams_before_its_verdict_ends_in_time(name, stream_policy):
    claims = "sentences" if stream_policy == "claim" else None
    overdue(lambda: CALLS[name](chat(stream_policy=stream_policy, claims=claims)))


@pytest.mark.parametrize("name", ["invoke", "stream", "batch", "ainvoke", "astream", "abatch"])
def test_waiting_for_the_model_counts(name):
    made = chat(4)
    with taken(LOCAL.lock, BOUND):
        overdue(lambda: CALLS[name](made))


def test_waiting_for_a_turn_counts():
    """Async calls of one chat model take turns; one that gives up while it waits never begins."""
    model, seen = chat(4, None), []
    model.guard.observers = (seen.append,)

    async def second_of_two():
        loop = asyncio.get_running_loop()
        with taken(LOCAL.lock, BOUND):
            first = asyncio.create_task(model.ainvoke(ASKED))
            began = loop.time()
            while loop.time() < began + SHORT:
                await asyncio.sleep(0.01)  # the loop goes on while the first one waits for the model
            with pytest.raises(DeadlineError):
                await model.ainvoke("Who?", timeout=SHORT)
            assert loop.time() - began < BOUND / 2
            assert not first.done()
        return await first

    message = asyncio.run(second_of_two())
    assert message.content == model.invoke(ASKED).content
    assert [each.messages[-1]["content"] for each in seen] == ["Tell me all."] * 2


def test_a_call_has_its_own(invoke):
    model = chat(4, None)
    overdue(lambda: invoke(model, ASKED, max_tokens=ENDLESS, timeout=SHORT))
    overdue(lambda: invoke(model.bind(max_tokens=ENDLESS, timeout=SHORT), ASKED))
    loose = model.configurable_fields(timeout=ConfigurableField(id="t"), max_tokens=ConfigurableField(id="n"))
    overdue(lambda: invoke(loose, ASKED, config={"configurable": {"t": SHORT, "n": ENDLESS}}))
    assert invoke(chat(4, 1e-9), ASKED, timeout=None).content == invoke(model, ASKED).content


class Keeps(BaseCallbackHandler):
    """Keeps a call from its model for a while."""

    def on_chat_model_start(self, *_, **__):
        time.sleep(4.5)


def test_an_input_that_a_batch_waits_for_too_long_fails_alone():
    model = chat(4, None)
    out = model.batch(["Who?", "Why?"], [{}, {"callbacks": [Keeps()]}], return_exceptions=True, timeout=4.0)
    assert isinstance(out[0], DeadlineError)
    assert out[1].content == model.invoke("Why?").content


def test_fallbacks_and_retries_catch_it(invoke):
    model = chat(4, None)
    plain = invoke(model, ASKED).content
    slow = chat()
    assert invoke(slow.with_fallbacks([model]), ASKED).content == plain
    assert invoke(slow.with_fallbacks([model], exceptions_to_handle=(TimeoutError,)), ASKED).content == plain
    seen = Everything()
    again = slow.with_retry(
        retry_if_exception_type=(TimeoutError,), stop_after_attempt=2, wait_exponential_jitter=False
    )
    overdue(lambda: invoke(again, ASKED, config={"callbacks": [seen]}))


def test_the_unguarded_twin(invoke):
    twin = chat().unguarded()
    assert twin.timeout == SHORT
    began = time.monotonic()
    with pytest.raises(DeadlineError):
        invoke(twin, ASKED)
    assert time.monotonic() - began < BOUND
    assert len(invoke(twin, ASKED, timeout=LONG, max_tokens=3).usage_metadata) == 3


def test_a_retriever_that_asks_the_same_model_has_no_more_time_than_the_call():
    class Asks(Passages):
        model: object = None

        def _get_relevant_documents(self, query, *, run_manager):
            self.model.invoke(query, max_tokens=ENDLESS)
            raise AssertionError("that takes minutes")

    found = Asks(queries=[])
    guard = judging(LOCAL, UNSURE, policy="retrieve_first", retriever=found)
    model = ChatGuarded.from_guard(guard, max_tokens=4, timeout=2.0)
    found.model = ChatGuarded(model=LOCAL, policy="observe")
    for ask in (model.invoke, lambda q: asyncio.run(model.ainvoke(q))):
        began = time.monotonic()
        with pytest.raises(DeadlineError, match="the timeout of 2 s"):
            ask("Who?")
        assert time.monotonic() - began < BOUND


@pytest.mark.xdist_group("calling_model")
def test_agents(invoke):
    @tool
    def get_weather(location: str) -> str:
        """The weather at a place."""
        return "sunny"

    calling = calling_model()
    model = ChatGuarded(model=calling, policy="observe", max_tokens=100, timeout=LONG)
    state = {"messages": [("user", "What is the weather in San Francisco, CA?")]}
    calls = invoke(model.bind_tools([get_weather]), state["messages"]).tool_calls
    assert [call["name"] for call in calls] == ["get_weather"]
    late = ChatGuarded(model=calling, policy="observe", max_tokens=100, timeout=1e-9)
    with pytest.raises(TimeoutError):
        invoke(create_agent(late, [get_weather]), state)


def test_a_cached_answer_needs_no_time():
    model = chat(4, LONG, cache=InMemoryCache())
    first = model.invoke("Who?")
    hurried = model.model_copy(update={"timeout": 1e-9})
    assert hurried.invoke("Who?").content == first.content
    assert read_metadata(first)["action"] == "answer"
