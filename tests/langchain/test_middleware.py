"""`GuardrailMiddleware` in real agents: what each action does to the run, sync and async, and a person in the loop."""

from __future__ import annotations

import asyncio
import json
import sys

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import AgentMiddleware, ModelRequest, ModelResponse
from langchain.agents.structured_output import ProviderStrategy, ToolStrategy
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command
from pydantic import BaseModel

from guardrail import DataError, MissingExtraError, Policy
from guardrail.langchain import read_metadata
from guardrail.langchain.middleware import GuardrailMiddleware
from guardrail.testing import tiny_local_model
from tests.helpers.langchain_doubles import SURE, UNSURE, Foreign, Passages, judging, let_through

ABSTAINED = "I do not know this well enough"
HEDGE = Policy.from_text(
    "version: 1\nname: hedge\nrules:\n- {name: h, then: hedge, say: 'Perhaps: {answer}'}\n", "h.yaml"
)


@tool
def look_up(what: str) -> str:
    """Look something up."""
    return f"about {what}: nothing"


def call(name="look_up", /, **arguments):
    return AIMessage("", tool_calls=[{"name": name, "args": arguments, "id": "call-1"}])


class City(BaseModel):
    """A city."""

    name: str


@pytest.fixture(scope="module")
def local():
    return tiny_local_model(vocab_size=261, max_position_embeddings=4096)


@pytest.fixture(params=["sync", "async"])
def invoke(request):
    """Run an agent to its end, or to its interrupt, one way and the other."""

    def run(agent, value, **options):
        if request.param == "sync":
            return agent.invoke(value, **options)
        return asyncio.run(agent.ainvoke(value, **options))

    return run


def ask(text="Where is it?"):
    return {"messages": [HumanMessage(text)]}


def agent_of(guard, *script, tools=(look_up,), more=(), escalate=(), **options):
    model = Foreign(script=list(script), calls=[])
    middleware = [GuardrailMiddleware(guard, escalate=escalate), *more]
    return create_agent(model, list(tools), middleware=middleware, **options), model


def test_a_sure_answer_passes_unchanged_but_for_the_verdict(local, invoke):
    said = AIMessage("In Peru.", response_metadata={"logprobs": [1]}, additional_kwargs={"x": 1}, id="m-1")
    agent, _ = agent_of(judging(local, SURE), said)
    last = invoke(agent, ask())["messages"][-1]
    assert (last.content, last.id, last.additional_kwargs) == ("In Peru.", "m-1", {"x": 1})
    assert last.response_metadata["logprobs"] == [1]
    assert read_metadata(last)["action"] == "answer"
    assert type(last) is AIMessage


def test_abstaining_replaces_the_message_and_ends_the_run(local, invoke):
    said = AIMessage("In Peru.", response_metadata={"logprobs": ["Peru"], "model_name": "m"}, id="m-1",
                     additional_kwargs={"reasoning": "Peru"})  # fmt: skip
    agent, model = agent_of(judging(local, UNSURE), call(what="it"), said)
    out = invoke(agent, ask())
    assert [m.type for m in out["messages"]] == ["human", "ai", "tool", "ai"]
    last = out["messages"][-1]
    assert ABSTAINED in last.content
    assert (last.id, last.response_metadata["model_name"]) == ("m-1", "m")
    assert read_metadata(last)["action"] == "abstain"
    assert "Peru" not in repr(out)
    assert len(model.calls) == 2


def test_turns_of_tool_calls_are_not_judged(local, invoke):
    agent, _ = agent_of(judging(local, UNSURE), call(what="it"), "In Peru.")
    turn = invoke(agent, ask())["messages"][1]
    assert turn.tool_calls
    assert "guardrail" not in turn.response_metadata


def test_hedging_keeps_the_id(local, invoke):
    agent, _ = agent_of(judging(local, SURE, policy=HEDGE), AIMessage("In Peru.", id="m-1"))
    last = invoke(agent, ask())["messages"][-1]
    assert (last.content, last.id) == ("Perhaps: In Peru.", "m-1")


def test_retrieving_calls_the_model_again_with_the_passage(local, invoke):
    notes = Passages(found=["It lies in Chile."], queries=[])
    guard = judging(local, UNSURE, {"Chile": SURE}, retriever=notes)
    agent, model = agent_of(guard, "In Peru.", "In Chile.", system_prompt="Be short.")
    out = invoke(agent, ask())
    assert out["messages"][-1].content == "In Chile."
    assert read_metadata(out["messages"][-1])["actions"] == ["retrieve", "answer"]
    assert notes.queries == ["Where is it?"]
    first, second = model.calls
    assert [m.type for m in second] == [m.type for m in first] == ["system", "human"]
    assert "<reference>\nIt lies in Chile.\n</reference>" in second[-1].content
    assert out["messages"][0].content == "Where is it?"  # the passage is in the request, not in the state


def test_retrieving_is_bounded_by_the_policy(local, invoke):
    agent, model = agent_of(judging(local, UNSURE, retriever=Passages(queries=[])), "In Peru.")
    out = invoke(agent, ask())
    assert len(model.calls) == 2
    assert read_metadata(out["messages"][-1])["actions"] == ["retrieve", "abstain"]


def test_the_system_message_and_the_tools_results_are_judged_with(local, invoke):
    guard, seen = judging(local, SURE), []
    guard.observers = (seen.append,)
    agent, _ = agent_of(guard, call(what="it"), "In Peru.", system_prompt="Be short.")
    invoke(agent, ask())
    (observation,) = seen
    assert [m["role"] for m in observation.messages] == ["system", "user", "assistant", "tool"]


def test_an_empty_answer_abstains(local, invoke):
    agent, _ = agent_of(judging(local, SURE), "")
    last = invoke(agent, ask())["messages"][-1]
    assert (read_metadata(last)["action"], read_metadata(last)["unscored"]) == ("abstain", "empty_answer")


def test_the_event_is_sent(local, invoke):
    class Events(BaseCallbackHandler):
        seen: list = []

        def on_custom_event(self, name, data, **kwargs):
            self.seen.append((name, data["action"]))

    events = Events()
    agent, _ = agent_of(judging(local, UNSURE), "In Peru.")
    invoke(agent, ask(), config={"callbacks": [events]})
    assert events.seen == [("guardrail.verdict", "abstain")]


def test_an_error_of_the_model_comes_through_and_the_next_run_streams_again(local, invoke):
    agent, _ = agent_of(judging(local, SURE), ConnectionError("down"), "In Peru.")
    with pytest.raises(ConnectionError, match="down"):
        invoke(agent, ask())
    assert invoke(agent, ask())["messages"][-1].content == "In Peru."


class TestStructured:
    def test_it_is_judged_by_its_json_and_passes(self, local, invoke):
        guard, seen = judging(local, UNSURE, {'"Lima"': SURE}), []
        guard.observers = (seen.append,)
        agent, _ = agent_of(guard, call("City", name="Lima"), tools=(), response_format=ToolStrategy(City))
        out = invoke(agent, ask())
        assert out["structured_response"] == City(name="Lima")
        assert seen[0].verdict.answer == '[{"name": "Lima"}]'
        assert read_metadata(out["messages"][1])["action"] == "answer"

    def test_an_abstention_drops_it_and_does_not_ask_for_ever(self, local, invoke):
        agent, model = agent_of(judging(local, UNSURE), call("City", name="Lima"), tools=(),
                                response_format=ToolStrategy(City))  # fmt: skip
        out = invoke(agent, ask(), config={"recursion_limit": 12})
        assert out.get("structured_response") is None
        assert "Lima" not in repr(out)
        assert ABSTAINED in out["messages"][-1].content
        assert len(model.calls) == 1

    def test_a_hedge_leaves_the_form_and_says_so(self, local, invoke):
        agent, _ = agent_of(judging(local, SURE, policy=HEDGE), call("City", name="Lima"), tools=(),
                            response_format=ToolStrategy(City))  # fmt: skip
        out = invoke(agent, ask())
        assert out["structured_response"] == City(name="Lima")
        verdict = read_metadata(out["messages"][1])
        assert (verdict["action"], verdict["enforced"]) == ("hedge", False)

    def test_a_providers_form_goes_too(self, local, invoke):
        form = {"response_format": ProviderStrategy(City), "tools": ()}
        sure, _ = agent_of(judging(local, SURE), '{"name": "Lima"}', **form)
        assert invoke(sure, ask())["structured_response"] == City(name="Lima")
        unsure, _ = agent_of(judging(local, UNSURE), '{"name": "Lima"}', **form)
        out = invoke(unsure, ask(), config={"recursion_limit": 12})
        assert out.get("structured_response") is None
        assert "Lima" not in repr(out)


class TestAPersonDecides:
    thread = {"configurable": {"thread_id": "1"}}

    def stopped(self, local, invoke, *script):
        agent, model = agent_of(
            judging(local, UNSURE), *(script or ("In Peru.",)), escalate="abstain", checkpointer=InMemorySaver()
        )
        out = invoke(agent, ask(), config=self.thread)
        (stop,) = out["__interrupt__"]
        return agent, model, stop.value

    def test_the_interrupt_says_what_there_is_to_decide(self, local, invoke):
        agent, _, value = self.stopped(local, invoke, call(what="it"), AIMessage("In Peru.", id="m-1"))
        assert (value["type"], value["question"], value["answer"]) == ("guardrail_review", "Where is it?", "In Peru.")
        assert ABSTAINED in value["shown"]
        assert value["verdict"]["action"] == "abstain"
        assert json.loads(json.dumps(value)) == value
        assert "Peru" not in repr(agent.get_state(self.thread).values)  # in the interrupt, not in the state

    @pytest.mark.parametrize(
        ("resume", "text"), [("In Peru.", "In Peru."), ("In Chile.", "In Chile."), (False, ABSTAINED)]
    )
    def test_the_run_goes_on(self, local, invoke, resume, text):
        agent, model, _ = self.stopped(local, invoke, AIMessage("In Peru.", id="m-1"))
        out = invoke(agent, Command(resume=resume), config=self.thread)
        last = out["messages"][-1]
        assert text in last.content
        assert (last.id, len(out["messages"])) == ("m-1", 2)
        assert last.response_metadata["guardrail"].get("reviewed", False) is (resume is not False)
        assert len(model.calls) == 1  # the model is not asked again

    def test_another_process_can_resume(self, local, invoke):
        agent, _, _ = self.stopped(local, invoke)
        agent.get_graph()  # the graph is the same; only what the middleware remembers is gone
        other, _ = agent_of(judging(local, UNSURE), "In Peru.", escalate="abstain", checkpointer=agent.checkpointer)
        out = invoke(other, Command(resume="In Peru."), config=self.thread)
        assert out["messages"][-1].content == "In Peru."

    def test_every_turn_of_a_conversation(self, local, invoke):
        agent, _, _ = self.stopped(local, invoke)
        invoke(agent, Command(resume="In Chile."), config=self.thread)
        (stop,) = invoke(agent, ask("And its capital?"), config=self.thread)["__interrupt__"]
        assert (stop.value["question"], stop.value["answer"]) == ("And its capital?", "In Peru.")
        out = invoke(agent, Command(resume="Santiago."), config=self.thread)
        assert [m.text for m in out["messages"]] == ["Where is it?", "In Chile.", "And its capital?", "Santiago."]

    def test_what_a_person_says_is_in_values_but_not_in_messages(self, local, invoke):
        """LangGraph's mode `messages` gives each id once, and the id is that of the message replaced. In the docs."""
        agent, _, _ = self.stopped(local, invoke)
        out = list(agent.stream(Command(resume="In Chile."), self.thread, stream_mode=["messages", "values"]))
        assert [v[0].text for mode, v in out if mode == "messages"] == []
        assert [v["messages"][-1].text for mode, v in out if mode == "values"][-1] == "In Chile."

    def test_a_resume_that_makes_no_sense(self, local, invoke):
        agent, _, _ = self.stopped(local, invoke)
        with pytest.raises(DataError, match="resume a review with the text to show"):
            invoke(agent, Command(resume={"ok": 1}), config=self.thread)

    def test_actions_that_are_none(self, local):
        with pytest.raises(DataError, match="retrieve"):
            GuardrailMiddleware(judging(local, SURE), escalate={"retrieve"})


def test_other_middleware_works_beside_it(local, invoke):
    order = []

    class Other(AgentMiddleware):
        def wrap_model_call(self, request, handler):
            order.append("in")
            return handler(request)

        async def awrap_model_call(self, request, handler):
            order.append("in")
            return await handler(request)

        def after_model(self, state, runtime):
            order.append(state["messages"][-1].content[:6])

    agent, _ = agent_of(judging(local, UNSURE), "In Peru.", more=[Other()])
    assert ABSTAINED in invoke(agent, ask())["messages"][-1].content
    assert order == ["in", "I do n"]


def test_many_runs_share_a_middleware(local):
    guard = judging(local, SURE, {"7": UNSURE})

    class Echo(Foreign):
        def _next(self, messages):
            return AIMessage(messages[-1].content)

    agent = create_agent(Echo(script=[]), [look_up], middleware=[GuardrailMiddleware(guard)])

    async def many():
        return await asyncio.gather(*(agent.ainvoke(ask(f"number {i}")) for i in range(16)))

    for i, out in enumerate(asyncio.run(many())):
        said = out["messages"][-1].content
        assert (ABSTAINED in said) if i == 7 else said == f"number {i}"


def test_without_a_guard_an_unjudged_answer_is_refused(invoke):
    agent, _ = agent_of(None, "In Peru.")
    with pytest.raises(DataError, match="give GuardrailMiddleware a guard"):
        invoke(agent, ask())


def test_without_langchain_the_error_names_the_extra(monkeypatch, local):
    import guardrail.langchain

    monkeypatch.setitem(sys.modules, "langchain.agents.middleware", None)
    monkeypatch.delitem(sys.modules, "guardrail.langchain.middleware")
    with pytest.raises(MissingExtraError, match=r"pip install 'hybridgrad-guardrail\[agents\]'"):
        _ = guardrail.langchain.GuardrailMiddleware
    rest = guardrail.langchain.GuardRunnable(judging(local, SURE))
    assert rest.invoke({"messages": "Where?", "answer": "In Peru."}).content == "In Peru."


class TestSeveralMessagesOfOneTurn:
    """An inner middleware may give more than one."""

    @staticmethod
    def turn(local, *said, guard=True):
        inner = ModelResponse(result=list(said))
        middleware = GuardrailMiddleware(judging(local, SURE, {"Atlantis": UNSURE}) if guard else None)
        request = ModelRequest(model=None, messages=[HumanMessage("Where?")])
        return middleware.wrap_model_call(request, lambda _: inner).result

    def test_the_last_answer_is_judged_and_no_other_is_shown(self, local):
        out = self.turn(local, AIMessage("A draft: Atlantis"), AIMessage("In Peru."))
        assert [m.text for m in out] == ["In Peru."]
        assert read_metadata(out[0])["action"] == "answer"
        out = self.turn(local, AIMessage("A draft."), AIMessage("In Atlantis."))
        assert len(out) == 1
        assert "Atlantis" not in repr(out)

    def test_what_is_judged_or_no_answer_stays(self, local):
        call = AIMessage("I ask Atlantis", tool_calls=[{"name": "f", "args": {}, "id": "1"}])
        kept = let_through(AIMessage("Before."))
        out = self.turn(local, kept, call, AIMessage("In Peru."))
        assert [(m.text, len(m.tool_calls)) for m in out] == [("Before.", 0), ("", 1), ("In Peru.", 0)]
        with pytest.raises(DataError, match="no policy was applied"):
            self.turn(local, AIMessage("A draft."), kept, guard=False)
