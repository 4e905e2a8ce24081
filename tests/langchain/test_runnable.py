"""`GuardRunnable` in chains, and the retriever gate of a RAG chain."""

from __future__ import annotations

import asyncio
import operator
from concurrent.futures import ThreadPoolExecutor

import pytest
from langchain_core.documents import Document
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import RunnableLambda, RunnablePassthrough
from langgraph.graph import END, START, MessagesState, StateGraph

from guardrail import DataError, PolicyError
from guardrail.langchain import GuardRunnable, as_retriever_gate, read_metadata
from guardrail.testing import tiny_local_model
from tests.helpers.langchain_doubles import SURE, UNSURE, Foreign, Passages, judging, let_through

ABSTAINED = "I do not know this well enough"
PROMPT = ChatPromptTemplate.from_messages([("system", "Be short."), ("human", "{question}")])
QUESTION = {"question": "Where is it?"}


@pytest.fixture(scope="module")
def local():
    return tiny_local_model(vocab_size=261, max_position_embeddings=2048)


def foreign(*script):
    return Foreign(script=list(script), calls=[])


def with_model(guard, model):
    return PROMPT | GuardRunnable(guard, model=model)


def with_both(guard, model):
    return {"messages": PROMPT, "answer": PROMPT | model} | GuardRunnable(guard)


@pytest.mark.parametrize("chain", [with_model, with_both])
class TestBothForms:
    def test_a_sure_answer_passes(self, local, invoke, chain):
        guard, seen = judging(local, SURE), []
        guard.observers = (seen.append,)
        message = invoke(chain(guard, foreign(AIMessage("In Peru.", id="m-1"))), QUESTION)
        assert (message.content, message.id) == ("In Peru.", "m-1")
        assert read_metadata(message)["action"] == "answer"
        assert [m["content"] for m in seen[0].messages] == ["Be short.", "Where is it?"]

    def test_an_unsure_one_does_not(self, local, invoke, chain):
        text = invoke(chain(judging(local, UNSURE), foreign("In Peru.")) | StrOutputParser(), QUESTION)
        assert ABSTAINED in text
        assert "Peru" not in text

    def test_what_passes_as_it_is(self, local, invoke, chain):
        call = AIMessage("", tool_calls=[{"name": "f", "args": {}, "id": "1"}])
        assert invoke(chain(judging(local, UNSURE), foreign(call)), QUESTION).tool_calls
        judged = let_through(AIMessage("In Peru."))
        assert invoke(chain(judging(local, UNSURE), foreign(judged)), QUESTION).content == "In Peru."

    def test_streaming_a_chain_gives_what_may_be_shown(self, local, chain):
        run = chain(judging(local, UNSURE), foreign("It is in Peru")) | StrOutputParser()
        assert ABSTAINED in "".join(run.stream(QUESTION))

        async def astream():
            return "".join([piece async for piece in run.astream(QUESTION)])

        assert ABSTAINED in asyncio.run(astream())

    def test_the_event_is_sent(self, local, chain):
        async def events():
            run = chain(judging(local, UNSURE), foreign("In Peru."))
            return [e async for e in run.astream_events(QUESTION, version="v2")]

        (event,) = [e for e in asyncio.run(events()) if e["event"] == "on_custom_event"]
        assert (event["name"], event["data"]["action"]) == ("guardrail.verdict", "abstain")

    def test_batches_keep_their_order(self, local, chain):
        class Echo(Foreign):
            def _next(self, messages):
                return AIMessage(messages[-1].content)

        run = chain(judging(local, SURE), Echo(script=[])) | StrOutputParser()
        questions = [f"number {i}" for i in range(8)]
        assert run.batch([{"question": q} for q in questions]) == questions
        assert asyncio.run(run.abatch([{"question": q} for q in questions])) == questions

    def test_errors_of_the_model_come_through(self, local, invoke, chain):
        with pytest.raises(ConnectionError):
            invoke(chain(judging(local, SURE), foreign(ConnectionError("down"))), QUESTION)


def test_with_the_model_inside_no_token_streams_out(local):
    """And with the model before it, they do: that form guards the chain's output, not the model's stream."""

    async def events(run):
        return [e async for e in run.astream_events(QUESTION, version="v2")]

    inside = asyncio.run(events(with_model(judging(local, UNSURE), foreign("It is in Peru"))))
    assert "Peru" not in repr(inside)
    before = asyncio.run(events(with_both(judging(local, UNSURE), foreign("It is in Peru"))))
    assert any(e["event"] == "on_chat_model_stream" and "Peru" in e["data"]["chunk"].content for e in before)


def test_in_a_langgraph_node_no_token_streams_out(local):
    guarded = GuardRunnable(judging(local, UNSURE), model=foreign("It is in Peru"))
    graph = StateGraph(MessagesState)
    graph.add_node("model", lambda state: {"messages": [guarded.invoke(state["messages"])]})
    graph.add_edge(START, "model").add_edge("model", END)
    run = graph.compile()
    for mode in ("messages", "updates", "values"):
        seen = repr(list(run.stream({"messages": [HumanMessage("Where?")]}, stream_mode=mode)))
        assert "Peru" not in seen
        assert ABSTAINED in seen


def test_retrieval_asks_the_model_again(local, invoke):
    model = foreign("In Peru.", "In Chile.")
    guard = judging(local, UNSURE, {"Chile": SURE}, retriever=Passages(found=["It lies in Chile."], queries=[]))
    message = invoke(with_model(guard, model), QUESTION)
    assert message.content == "In Chile."
    assert read_metadata(message)["actions"] == ["retrieve", "answer"]
    assert "It lies in Chile." in model.calls[1][-1].content


def test_the_model_may_be_a_chain_and_takes_options(local, invoke):
    chain = RunnableLambda(lambda messages: messages) | foreign("In Peru.")
    assert invoke(GuardRunnable(judging(local, SURE), model=chain), "Where?").content == "In Peru."
    seen = {}

    class Options(Foreign):
        def _generate(self, messages, stop=None, run_manager=None, **kwargs):
            seen["stop"] = stop
            return super()._generate(messages)

    invoke(GuardRunnable(judging(local, SURE), model=Options(script=["x"])), "Where?", stop=["."])
    assert seen == {"stop": ["."]}


def test_a_question_goes_into_the_calibrated_prompt(local, invoke):
    guard, seen = judging(local, SURE), []
    guard.observers = (seen.append,)
    invoke(GuardRunnable(guard), {"messages": "Where?", "answer": "In Peru."})
    assert seen[0].verdict.confidence.basis == "calibrated"
    invoke(GuardRunnable(guard), {"messages": [("human", "Where?")], "answer": "In Peru."})
    assert seen[1].verdict.confidence.basis == "calibrated"
    invoke(GuardRunnable(guard), {"messages": [("system", "Be brief."), ("human", "Where?")], "answer": "In Peru."})
    assert seen[2].verdict.confidence.basis == "extrapolated"


@pytest.mark.parametrize("value", [AIMessage("In Peru."), "In Peru.", {"answer": "x"}, {"messages": "Where?"}])
def test_an_answer_without_its_question_is_refused(local, invoke, value):
    with pytest.raises(DataError, match=r"GuardRunnable\(guard, model=model\)"):
        invoke(GuardRunnable(judging(local, SURE)), value)


def test_after_the_parser_there_is_no_message(local, invoke):
    with pytest.raises(DataError, match="put the guard before the parser"):
        invoke(GuardRunnable(judging(local, SURE)), {"messages": "Where?", "answer": {"city": "Lima"}})
    with pytest.raises(DataError, match="takes a prompt"):
        invoke(GuardRunnable(judging(local, SURE), model=foreign("x")), 3)


class TestTheGate:
    def test_it_retrieves_only_where_the_model_is_unsure(self, local, invoke):
        notes = Passages(found=["A passage."], queries=[])
        unsure = as_retriever_gate(judging(local, UNSURE), notes)
        assert [d.page_content for d in invoke(unsure, "Where?")] == ["A passage."]
        sure = as_retriever_gate(judging(local, SURE), notes)
        assert invoke(sure, "Where?") == []
        assert notes.queries == ["Where?"]
        assert [(g.asked, g.retrieved, g.saved) for g in (unsure, sure)] == [(1, 1, 0), (1, 0, 1)]

    @pytest.mark.parametrize(("below", "retrieved"), [(0.99, 1), (0.5, 0), (0.0, 0)])
    def test_a_bound_of_ones_own(self, local, invoke, below, retrieved):
        gate = as_retriever_gate(judging(local, SURE, policy="observe"), Passages(queries=[]), below=below)
        assert len(invoke(gate, "Where?")) == retrieved

    def test_what_cannot_be_measured_is_looked_up(self, local, invoke):
        gate = as_retriever_gate(judging(local, SURE), Passages(queries=[]), below=0.0)
        assert len(invoke(gate, "x" * 3000)) == 1  # the prompt is beyond the model's context

    def test_the_guards_own_retriever_is_not_asked(self, local, invoke):
        own, notes = Passages(queries=[]), Passages(queries=[])
        guard = judging(local, UNSURE, retriever=own)
        invoke(as_retriever_gate(guard, notes), "Where?")
        assert (own.queries, notes.queries) == ([], ["Where?"])
        assert guard.retriever is own

    def test_in_a_rag_chain(self, local, invoke):
        prompt = ChatPromptTemplate.from_template("{context}|{question}")
        gate = as_retriever_gate(judging(local, UNSURE), Passages(found=["A passage."], queries=[]))
        join = RunnableLambda(lambda found: " ".join(d.page_content for d in found))
        chain = (
            {"context": gate | join, "question": RunnablePassthrough()}
            | prompt
            | RunnableLambda(operator.attrgetter("messages"))
        )
        assert invoke(chain, "Where?")[0].content == "A passage.|Where?"

    def test_the_event_is_sent(self, local):
        async def events(gate):
            return [e async for e in gate.astream_events("Where?", version="v2")]

        seen = asyncio.run(events(as_retriever_gate(judging(local, UNSURE), Passages(queries=[]))))
        (event,) = [e for e in seen if e["event"] == "on_custom_event"]
        assert (event["name"], event["data"]["action"]) == ("guardrail.verdict", "abstain")

    def test_counts_of_many_threads(self, local):
        gate = as_retriever_gate(judging(local, SURE), Passages(queries=[]))
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(gate.invoke, ["Where?"] * 24))
        assert (gate.asked, gate.saved) == (24, 24)

    def test_a_failing_index_is_loud(self, local, invoke):
        class Broken(BaseRetriever):
            def _get_relevant_documents(self, query, *, run_manager) -> list[Document]:
                raise ConnectionError("the index is down")

        with pytest.raises(ConnectionError):
            invoke(as_retriever_gate(judging(local, UNSURE), Broken()), "Where?")

    def test_a_gate_that_would_never_open(self, local):
        with pytest.raises(PolicyError, match="policy 'observe' never retrieves"):
            as_retriever_gate(judging(local, SURE, policy="observe"), Passages())
        with pytest.raises(DataError, match="below is 50"):
            as_retriever_gate(judging(local, SURE), Passages(), below=50)


def test_usage_is_that_of_all_passes(local, invoke):
    one, two = ({"input_tokens": i, "output_tokens": 2, "total_tokens": i + 2} for i in (10, 30))
    said = [AIMessage("First.", usage_metadata=one), AIMessage("Second.", usage_metadata=two)]
    guard = judging(local, UNSURE, evidence=SURE, retriever=Passages(queries=[]))
    out = invoke(GuardRunnable(guard, model=Foreign(script=said, calls=[])), "Where?")
    assert (out.text, out.usage_metadata["input_tokens"], out.usage_metadata["total_tokens"]) == ("Second.", 40, 44)
