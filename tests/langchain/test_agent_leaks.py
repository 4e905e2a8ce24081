"""Held-back text reaches no consumer: every way an agent streams, with a foreign model and with a guarded one.

The foreign model without a middleware comes first, to show that the probe finds a leak where there is one.
"""

from __future__ import annotations

import asyncio
import warnings

import pytest
from langchain.agents import create_agent
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.tools import tool

from guardrail import Policy
from guardrail.langchain import ChatGuarded, GuardrailMiddleware
from guardrail.testing import tiny_local_model
from tests.helpers.langchain_doubles import UNSURE, Foreign, judging

SECRET = "Atlantis"
ANSWER = f"It lies beside {SECRET} , they say"
QUESTION = {"messages": [("user", "Where is it?")]}
CALL = AIMessage("", tool_calls=[{"name": "look_up", "args": {"what": "it"}, "id": "call-1"}])
ABSTAIN = Policy.from_text(
    "version: 1\nname: never\nrules:\n- {name: n, then: abstain, say: Not shown.}\n", "never.yaml"
)
MODES = ["values", "updates", "messages", "custom", "debug", "tasks"]


@tool
def look_up(what: str) -> str:
    """Look something up."""
    return "nothing found"


@pytest.fixture(scope="module")
def local():
    return tiny_local_model(vocab_size=261, max_position_embeddings=2048)


def guarded_agent(local, *, guard=True):
    middleware = [GuardrailMiddleware(judging(local, UNSURE))] if guard else []
    return create_agent(Foreign(script=[CALL, ANSWER], calls=[]), [look_up], middleware=middleware)


def stream(agent, mode):
    return list(agent.stream(QUESTION, stream_mode=mode, subgraphs=True))


def astream(agent, mode):
    async def collect():
        return [item async for item in agent.astream(QUESTION, stream_mode=mode, subgraphs=True)]

    return asyncio.run(collect())


def events(agent, version):
    async def collect():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # v1 is deprecated, v3 in beta
            stream = agent.astream_events(QUESTION, version=version)
            return [event async for event in (await stream if version == "v3" else stream)]

    return asyncio.run(collect())


def sync_v3(agent, _):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        run = agent.stream_events(QUESTION, version="v3")
        said = [str(message.text) for message in run.messages]
    return [said, run.output]


SURFACES = [
    *((drive, mode) for mode in MODES for drive in (stream, astream)),
    *((events, version) for version in ("v1", "v2", "v3")),
    (sync_v3, "v3"),
]  # fmt: skip
IDS = [f"{drive.__name__}-{what}" for drive, what in SURFACES]


@pytest.mark.parametrize(("drive", "what"), SURFACES, ids=IDS)
def test_a_foreign_models_held_back_answer_reaches_no_stream(local, drive, what):
    seen = drive(guarded_agent(local), what)
    assert SECRET not in repr(seen)
    if what not in ("custom",):
        assert "I do not know this well enough" in repr(seen)  # what may be shown is, on every surface


@pytest.mark.parametrize(
    ("drive", "what"), [s for s in SURFACES if s[1] != "custom"], ids=[i for i in IDS if "custom" not in i]
)
def test_without_the_middleware_the_probe_finds_it(local, drive, what):
    assert SECRET in repr(drive(guarded_agent(local, guard=False), what))


def test_tokens_do_not_show_by_ones_and_twos_either(local):
    """A model's answer in chunks: none of its words, not only the secret one."""
    chunks = [item[0].text for _, item in stream(guarded_agent(local), "messages")]
    assert not any(word in chunk.split() for chunk in chunks for word in ("beside", "they", "lies"))
    free = [item[0].text for _, item in stream(guarded_agent(local, guard=False), "messages")]
    assert "beside " in free  # without the middleware it streams word by word


@pytest.fixture(scope="module")
def guarded(local):
    """A `ChatGuarded` that abstains, and what its model says when nobody stops it."""
    question = [HumanMessage(QUESTION["messages"][0][1])]
    said = ChatGuarded(model=local, policy="observe", max_tokens=12).invoke(question).text
    assert len(said) > 8
    return ChatGuarded(model=local, policy=ABSTAIN, max_tokens=12), said


@pytest.mark.parametrize("middleware", [False, True], ids=["alone", "with the middleware"])
@pytest.mark.parametrize(("drive", "what"), SURFACES, ids=IDS)
def test_a_guarded_model_leaks_nothing_in_an_agent(guarded, drive, what, middleware):
    model, said = guarded
    agent = create_agent(model, middleware=[GuardrailMiddleware()] if middleware else [])
    seen = drive(agent, what)
    assert repr(said)[1:-1] not in repr(seen)
    if what == "messages":
        assert "".join(item[0].text for _, item in seen) == "Not shown."  # nor in pieces
    elif what != "custom":
        assert "Not shown." in repr(seen)


def test_without_its_policy_the_guarded_models_answer_is_found(local, guarded):
    _, said = guarded
    free = create_agent(ChatGuarded(model=local, policy="observe", max_tokens=12))
    for drive, what in SURFACES:
        assert what == "custom" or repr(said)[1:-1] in repr(drive(free, what)), (drive.__name__, what)


def traced(agent):
    """What a callback that does not stream sees of the models' answers, and what comes out."""

    class Tracer(BaseCallbackHandler):
        said: list = []

        def on_llm_end(self, response, **kwargs):
            self.said.append(response.generations[0][0].text)

    tracer = Tracer()
    return tracer.said, agent.invoke(QUESTION, config={"callbacks": [tracer]})


def test_what_the_middleware_cannot_hide_a_tracer_sees(local):
    """Documented in docs/how-to/agents.md: callbacks that do not stream, tracers say, see what a foreign model said."""
    said, out = traced(guarded_agent(local))
    assert said[-1] == ANSWER
    assert SECRET not in repr(out)


def test_of_a_guarded_model_a_tracer_sees_what_is_shown(guarded):
    model, _ = guarded
    said, _ = traced(create_agent(model))
    assert said == ["Not shown."]


def test_langchains_streaming_handlers_are_recognised():
    """The hiding rests on how LangChain marks them; a version that marks them otherwise must not pass unseen."""
    from langchain_core.tracers.event_stream import _AstreamEventsCallbackHandler
    from langchain_core.tracers.log_stream import LogStreamCallbackHandler
    from langgraph.pregel._messages import StreamMessagesHandler, StreamMessagesHandlerV2

    from guardrail.langchain.review import _streams

    for kind in (
        _AstreamEventsCallbackHandler,
        LogStreamCallbackHandler,
        StreamMessagesHandler,
        StreamMessagesHandlerV2,
    ):
        assert _streams(kind)
