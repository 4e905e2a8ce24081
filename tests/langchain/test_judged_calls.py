"""Turns of tool calls: what nobody judged carries no text, what was judged is shown as decided, forms do not slip through."""

from __future__ import annotations

import json

import pytest
from langchain.agents import create_agent
from langchain.agents.structured_output import ToolStrategy
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.tools import StructuredTool, tool
from langgraph.checkpoint.memory import InMemorySaver
from pydantic import BaseModel

from guardrail import DataError, Guard, Policy
from guardrail.langchain import ChatGuarded, GuardrailMiddleware, GuardRunnable, read_metadata
from guardrail.langchain.call_forms import MarkedText, spelt_markers
from guardrail.langchain.reply import reply_to
from guardrail.langchain.tool_calls import parse_tool_calls
from guardrail.pipeline.hooks import Hooks
from guardrail.testing import tiny_local_model
from tests.helpers.calling_model import BESIDE, CALLS, calling_model, said
from tests.helpers.langchain_doubles import SURE, UNSURE, Foreign, judging, let_through

calls_tools = pytest.mark.xdist_group("calling_model")
NEVER, HEDGE = (
    Policy.from_text(f"version: 1\nname: p\nrules:\n  - {{name: r, then: {then}, say: '{say}'}}\n", "p.yaml")
    for then, say in (("abstain", "No."), ("hedge", "Perhaps: {answer}"))
)
SECRET = "Atlantis"
KEPT = said("Joke").removeprefix(BESIDE)  # where a call is asked for, nothing stands beside it
ASK = {"messages": [HumanMessage("Tell me a joke about cats.")]}


class Joke(BaseModel):
    """A joke."""

    setup: str
    punchline: str


@tool
def get_weather(location: str) -> str:
    """The weather."""
    return "sunny"


@pytest.fixture(scope="module")
def local():
    return tiny_local_model(vocab_size=261, max_position_embeddings=2048)


def joking(policy, *middleware, **options):
    chat = ChatGuarded(model=calling_model(), policy=policy, max_tokens=100, **options)
    return create_agent(chat, [], response_format=ToolStrategy(Joke), middleware=middleware)


@calls_tools
class TestAFormThatComesAsACall:
    def test_the_middleware_does_not_take_it_as_judged(self):
        agent = joking(NEVER, GuardrailMiddleware(Guard(model=calling_model(), policy=NEVER)))
        out = agent.invoke(ASK, {"recursion_limit": 12})
        assert out.get("structured_response") is None
        assert out["messages"][-1].content == "No."
        assert joking("observe").invoke(ASK)["structured_response"] == Joke(**CALLS["Joke"])  # there is one to drop

    def test_a_foreign_models_is_refused_without_a_guard(self):
        call = {"name": "Joke", "args": CALLS["Joke"], "id": "c-1"}
        model = Foreign(script=[AIMessage("", tool_calls=[call])], calls=[])
        with pytest.raises(DataError, match="make the model a ChatGuarded"):
            create_agent(model, [], response_format=ToolStrategy(Joke), middleware=[GuardrailMiddleware()]).invoke(ASK)

    @pytest.mark.parametrize("response_format", [Joke, ToolStrategy(Joke)])
    @pytest.mark.parametrize("tools", [[], [get_weather]])
    def test_the_model_judges_it_untold(self, response_format, tools):
        """The template shows names in order, so the form, which comes last, is what the model calls."""
        free = ChatGuarded(model=calling_model(), policy="observe", max_tokens=100)
        out = create_agent(free, tools, response_format=response_format).invoke(ASK)
        assert out["structured_response"] == Joke(**CALLS["Joke"])
        verdict = read_metadata(next(m for m in out["messages"] if m.type == "ai"))
        assert (verdict["enforced"], verdict["unscored"]) == (True, None)
        assert verdict["score"]["hybridgrad"] > 0

    def test_an_agent_that_would_ask_for_ever_is_stopped(self):
        with pytest.raises(DataError, match=r"decided 'abstain' on the structured answer.*GuardrailMiddleware\(\)"):
            joking(NEVER).invoke(ASK, {"recursion_limit": 12})

    @pytest.mark.parametrize(("policy", "text"), [(NEVER, "No."), (HEDGE, f"Perhaps: {KEPT}")])
    def test_with_the_middleware_the_run_ends(self, policy, text):
        out = joking(policy, GuardrailMiddleware()).invoke(ASK, {"recursion_limit": 12})
        assert (out.get("structured_response"), out["messages"][-1].content) == (None, text)

    def test_other_tools_of_the_agent_pass_unscored(self):
        chat = ChatGuarded(model=calling_model(), policy=NEVER, max_tokens=100)
        form = StructuredTool(name="Joke", description="A joke.", args_schema=Joke.model_json_schema())
        turn = chat.bind_tools([form, get_weather], tool_choice="get_weather").invoke(ASK["messages"])
        assert [c["name"] for c in turn.tool_calls] == ["get_weather"]
        assert read_metadata(turn)["unscored"] == "tool_call"
        assert chat.bind_tools([form, get_weather], tool_choice="Joke").invoke(ASK["messages"]).content == "No."

    @pytest.mark.parametrize(("policy", "text"), [(NEVER, "No."), (HEDGE, f"Perhaps: {said('Joke')}")])
    def test_the_model_judges_it_if_told_to(self, policy, text):
        chat = ChatGuarded(model=calling_model(), policy=policy, max_tokens=100, score_tool_calls=True)
        message = chat.bind_tools([Joke]).invoke(ASK["messages"])
        assert (message.content, message.tool_calls, message.invalid_tool_calls) == (text, [], [])
        assert read_metadata(message)["enforced"] is True

    def test_with_an_abstention_the_run_ends(self):
        out = joking(NEVER, GuardrailMiddleware(), score_tool_calls=True).invoke(ASK, {"recursion_limit": 12})
        assert (out.get("structured_response"), out["messages"][-1].content) == (None, "No.")

    def test_a_hedge_gives_no_object(self):
        chat = ChatGuarded(model=calling_model(), policy=HEDGE, max_tokens=100)
        out = chat.with_structured_output(Joke, include_raw=True).invoke(ASK["messages"])
        assert (out["parsed"], out["raw"].content) == (None, f"Perhaps: {KEPT}")
        assert chat.with_structured_output(Joke).invoke(ASK["messages"]) is None


@calls_tools
def test_an_unjudged_turn_says_that_no_policy_was_enforced():
    chat = ChatGuarded(model=calling_model(), policy=NEVER, max_tokens=100)
    verdict = read_metadata(chat.bind_tools([get_weather]).invoke(ASK["messages"]))
    assert (verdict["unscored"], verdict["enforced"]) == ("tool_call", False)
    scored = ChatGuarded(model=calling_model(), policy="observe", max_tokens=100, score_tool_calls=True)
    assert read_metadata(scored.bind_tools([get_weather]).invoke(ASK["messages"]))["enforced"] is True


@calls_tools
def test_nobody_is_asked_about_a_turn_of_calls():
    chat = ChatGuarded(model=calling_model(), policy="observe", max_tokens=100, score_tool_calls=True)
    middleware = GuardrailMiddleware(escalate={"answer"})
    turn = chat.bind_tools([get_weather]).invoke(ASK["messages"])
    assert (turn.content, read_metadata(turn)["action"]) == (BESIDE.strip(), "answer")
    assert middleware.after_model({"messages": [*ASK["messages"], turn]}, None) is None


BROKEN = f'<tool_call>{{"name": "get_weather", "arguments": "{SECRET} {{"}}</tool_call>'
WHOLE = '<tool_call>{"name": "get_weather", "arguments": {"location": "Rome"}}</tool_call>'


@pytest.mark.parametrize(("judged", "action"), [(False, "answer"), (True, "answer"), (True, "hedge")])
def test_invalid_calls_beside_a_valid_one_carry_no_free_text(local, judged, action):
    """Unless they were judged, and let through."""
    guard = Guard(model=local, policy="observe" if action == "answer" else HEDGE)
    (verdict,) = guard.answer_batch(
        [[{"role": "user", "content": "Weather?"}]], max_new_tokens=2, hooks=Hooks(is_tool_call=lambda _: not judged)
    )
    text = f"{SECRET} {WHOLE} {BROKEN}"
    parsed = parse_tool_calls(MarkedText(text, tuple(spelt_markers(text)), exact=True), ["get_weather"])
    assert SECRET in parsed.invalid[0]["args"]
    reply = reply_to(verdict, parsed, enforced=True, include_original=False)
    for message in (reply.message(), reply.last_chunk().message):
        assert len(message.tool_calls) == (action == "answer")
    message = reply.message()
    assert (SECRET in repr(message)) is (judged and action == "answer")
    if action == "answer":
        (invalid,) = message.invalid_tool_calls
        assert invalid["name"] == "get_weather"
        assert "no JSON" in invalid["error"]


class TestTextBesideAForeignModelsCalls:
    """The text beside a call may be the answer."""

    @staticmethod
    def said():
        call = {"name": "get_weather", "args": {"location": "Rome"}, "id": "c-1"}
        invalid = {"name": "f", "args": SECRET, "id": "c-2", "error": "no JSON", "type": "invalid_tool_call"}
        return AIMessage(
            [{"type": "reasoning", "reasoning": SECRET}, {"type": "text", "text": f"It is {SECRET}"}],
            tool_calls=[call], invalid_tool_calls=[invalid], additional_kwargs={"reasoning_content": SECRET}, id="m-1",
            response_metadata={"logprobs": [SECRET], "model_name": "m"},
        )  # fmt: skip

    @pytest.mark.parametrize("mode", ["values", "updates", "messages", "debug", "tasks"])
    def test_in_an_agent(self, local, mode):
        model = Foreign(script=[self.said(), "In Peru."], calls=[], disable_streaming=True)
        agent = create_agent(model, [get_weather], middleware=[GuardrailMiddleware(judging(local, UNSURE))])
        seen = repr(list(agent.stream(ASK, stream_mode=mode)))
        assert SECRET not in seen
        assert "sunny" in seen  # the call came through

    def test_in_a_chain(self, local):
        guard, asked = judging(local, SURE), "Where?"
        for out in (
            GuardRunnable(guard, model=Foreign(script=[self.said()], calls=[])).invoke(asked),
            GuardRunnable(guard).invoke({"messages": asked, "answer": self.said()}),
        ):
            assert SECRET not in repr(out)
            assert (out.content, out.id, out.response_metadata) == ("", "m-1", {"model_name": "m"})
            assert [c["args"] for c in out.tool_calls] == [{"location": "Rome"}]
            assert [c["name"] for c in out.invalid_tool_calls] == ["f"]

    def test_beside_a_form(self, local):
        call = {"name": "Joke", "args": {"setup": "a", "punchline": "b"}, "id": "c-1"}
        model = Foreign(script=[AIMessage(f"It is {SECRET}", tool_calls=[call])], calls=[])
        middleware = [GuardrailMiddleware(judging(local, SURE, {SECRET: UNSURE}))]
        out = create_agent(model, [], response_format=ToolStrategy(Joke), middleware=middleware).invoke(ASK)
        assert out["structured_response"] == Joke(setup="a", punchline="b")
        assert SECRET not in repr(out)

    def test_a_turn_that_a_guard_let_through_stays_as_it_is(self, local):
        said = let_through(self.said())
        assert GuardRunnable(judging(local, UNSURE), model=Foreign(script=[said], calls=[])).invoke("Where?") == said


@pytest.mark.parametrize(("mode", "there"), [("values", True), ("updates", True), ("tasks", True), ("messages", False)])
def test_what_waits_for_a_person_is_in_the_interrupt_on_ordinary_streams(local, mode, there):
    """Documented in docs/how-to/agents.md, with the checkpointer."""
    saver = InMemorySaver()
    middleware = [GuardrailMiddleware(judging(local, UNSURE), escalate={"abstain"})]
    agent = create_agent(Foreign(script=[f"It is {SECRET}"], calls=[]), [], middleware=middleware, checkpointer=saver)
    thread = {"configurable": {"thread_id": "1"}}
    assert (SECRET in repr(list(agent.stream(ASK, thread, stream_mode=mode)))) is there
    assert SECRET in repr(saver.writes)
    assert SECRET not in json.dumps([m.content for m in agent.get_state(thread).values["messages"]])
