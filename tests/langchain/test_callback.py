"""`GuardrailCallbackHandler` on real chains: what it annotates, when it raises, and that it forgets every run."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.language_models import FakeListLLM
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_huggingface import ChatHuggingFace, HuggingFacePipeline

from guardrail import DataError, LowConfidenceError, ModelError
from guardrail.langchain import GuardrailCallbackHandler, GuardRunnable, read_metadata
from guardrail.testing import tiny_local_model
from tests.helpers.langchain_doubles import SURE, UNSURE, Foreign, judging, let_through

ABSTAINED = "I do not know this well enough"
PROMPT = ChatPromptTemplate.from_messages([("system", "Be short."), ("human", "{question}")])


@pytest.fixture(scope="module")
def local():
    return tiny_local_model(vocab_size=261, max_position_embeddings=2048)


@pytest.fixture(scope="module")
def pipeline_chat(local):
    from transformers import pipeline

    local.model.generation_config.max_new_tokens = 4
    pipe = pipeline("text-generation", model=local.model, tokenizer=local.tokenizer)
    return ChatHuggingFace(llm=HuggingFacePipeline(pipeline=pipe, model_id="tiny"), tokenizer=local.tokenizer)


def foreign(*script):
    return Foreign(script=list(script), calls=[])


def using(handler):
    return {"callbacks": [handler]}


class Events(BaseCallbackHandler):
    def __init__(self):
        self.seen = []

    def on_custom_event(self, name, data, **kwargs):
        self.seen.append((name, data["action"]))


def test_it_annotates_and_leaves_the_text(local, invoke):
    verdicts = []
    handler = GuardrailCallbackHandler(judging(local, UNSURE), on_verdict=verdicts.append)
    message = invoke(PROMPT | foreign("In Peru."), {"question": "Where?"}, config=using(handler))
    assert message.content == "In Peru."
    metadata = read_metadata(message)
    assert (metadata["action"], metadata["label"], metadata["enforced"]) == ("abstain", "very low", False)
    assert verdicts[0].answer == "In Peru."
    assert handler._pending == {}


def test_it_judges_with_what_was_asked(local, invoke):
    guard, seen = judging(local, SURE), []
    guard.observers = (seen.append,)
    handler = GuardrailCallbackHandler(guard)
    invoke(PROMPT | foreign("In Peru."), {"question": "Where?"}, config=using(handler))
    assert [dict(m) for m in seen[0].messages] == [
        {"role": "system", "content": "Be short."}, {"role": "user", "content": "Where?"}
    ]  # fmt: skip


def test_it_raises_where_the_policy_abstains(local, invoke):
    handler = GuardrailCallbackHandler(judging(local, UNSURE), raise_on_abstain=True)
    with pytest.raises(LowConfidenceError, match="policy 'default' abstains: confidence 0.1") as caught:
        invoke(PROMPT | foreign("In Peru.") | StrOutputParser(), {"question": "Where?"}, config=using(handler))
    assert caught.value.verdict.answer == "In Peru."
    assert handler._pending == {}


@pytest.mark.parametrize(("score", "below", "raises"), [(UNSURE, 0.5, True), (SURE, 0.5, False), (SURE, 0.99, True)])
def test_it_raises_below_a_confidence(local, invoke, score, below, raises):
    handler = GuardrailCallbackHandler(judging(local, score), raise_below=below)
    if not raises:
        assert invoke(foreign("In Peru."), "Where?", config=using(handler)).content == "In Peru."
    else:
        with pytest.raises(LowConfidenceError, match=f"raise_below is {below}"):
            invoke(foreign("In Peru."), "Where?", config=using(handler))


def test_an_empty_answer_is_too_unsure(local, invoke):
    handler = GuardrailCallbackHandler(judging(local, SURE), raise_below=0.1)
    with pytest.raises(LowConfidenceError, match="confidence is unknown"):
        invoke(foreign(""), "Where?", config=using(handler))


def test_what_is_left_alone(local, invoke):
    verdicts = []
    handler = GuardrailCallbackHandler(judging(local, UNSURE), on_verdict=verdicts.append, raise_on_abstain=True)
    call = AIMessage("", tool_calls=[{"name": "f", "args": {}, "id": "1"}])
    assert "guardrail" not in invoke(foreign(call), "Where?", config=using(handler)).response_metadata
    judged = let_through(AIMessage("In Peru."))
    noted = judged.response_metadata["guardrail"]
    assert invoke(foreign(judged), "Where?", config=using(handler)).response_metadata["guardrail"] == noted
    assert verdicts == []
    assert handler._pending == {}


def test_a_callback_cannot_stop_streamed_text(local):
    """The documented limit: the error comes after every chunk."""
    handler = GuardrailCallbackHandler(judging(local, UNSURE), raise_on_abstain=True)
    stream = foreign("It is in Peru").stream("Where?", config=using(handler))
    assert "".join(next(stream).content for _ in range(4)) == "It is in Peru"
    with pytest.raises(LowConfidenceError):
        next(stream)
    assert handler._pending == {}


def test_streamed_answers_are_judged_and_the_event_is_sent(local):
    verdicts, events = [], Events()
    handler = GuardrailCallbackHandler(judging(local, UNSURE), on_verdict=verdicts.append)
    chain = PROMPT | foreign("It is in Peru") | StrOutputParser()
    assert "".join(chain.stream({"question": "Where?"}, config={"callbacks": [handler, events]})) == "It is in Peru"
    assert verdicts[0].answer == "It is in Peru"
    assert events.seen == [("guardrail.verdict", "abstain")]


def test_the_event_reaches_astream_events(local):
    async def collect():
        chain = PROMPT | foreign("In Peru.")
        handler = GuardrailCallbackHandler(judging(local, UNSURE))
        return [e async for e in chain.astream_events({"question": "Where?"}, version="v2", config=using(handler))]

    found = [e for e in asyncio.run(collect()) if e["event"] == "on_custom_event"]
    assert [(e["name"], e["data"]["action"]) for e in found] == [("guardrail.verdict", "abstain")]


def test_errors_of_the_model_leave_nothing_behind(local, invoke):
    handler = GuardrailCallbackHandler(judging(local, SURE))
    with pytest.raises(ConnectionError):
        invoke(foreign(ConnectionError("down")), "Where?", config=using(handler))
    assert handler._pending == {}


def test_an_abandoned_stream_leaves_nothing_behind(local):
    handler = GuardrailCallbackHandler(judging(local, SURE))
    stream = foreign("It is in Peru").stream("Where?", config=using(handler))
    next(stream)
    stream.close()
    assert handler._pending == {}


def test_runs_that_langchain_never_ends_do_not_pile_up(local, monkeypatch):
    monkeypatch.setattr("guardrail.langchain.callback._MOST_PENDING", 3)
    handler = GuardrailCallbackHandler(judging(local, UNSURE), raise_on_abstain=True)
    for _ in range(4):
        with pytest.raises(LowConfidenceError):
            foreign("In Peru.").generate([[HumanMessage("a")], [HumanMessage("b")]], callbacks=[handler])
    assert len(handler._pending) <= 3


def test_every_answer_of_a_batch_is_judged(local):
    verdicts = []
    handler = GuardrailCallbackHandler(judging(local, SURE), on_verdict=verdicts.append)
    result = foreign("x", "y").generate([[HumanMessage("a")], [HumanMessage("b")]], callbacks=[handler])
    assert [read_metadata(row[0].message)["action"] for row in result.generations] == ["answer", "answer"]
    assert sorted(v.answer for v in verdicts) == ["x", "y"]


class Echo(Foreign):
    def _next(self, messages):
        return AIMessage(messages[-1].content)


def test_concurrent_runs_share_a_handler(local):
    """Each answer is judged with its own question."""
    guard, pairs = judging(local, SURE), []
    guard.observers = (lambda o: pairs.append((o.messages[-1]["content"], o.verdict.answer)),)
    handler = GuardrailCallbackHandler(guard)
    questions = [f"number {i}" for i in range(32)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda q: Echo(script=[]).invoke(q, config=using(handler)), questions))

    async def many():
        await asyncio.gather(*(Echo(script=[]).ainvoke(q, config=using(handler)) for q in questions))

    asyncio.run(many())
    assert len(pairs) == 64
    assert all(question == answer for question, answer in pairs)
    assert handler._pending == {}


def test_a_model_that_is_no_chat_model(local, caplog):
    loud = GuardrailCallbackHandler(judging(local, SURE), raise_on_abstain=True)
    with pytest.raises(DataError, match="judges chat models, and 'FakeListLLM' takes text"):
        FakeListLLM(responses=["x"]).invoke("Where?", config=using(loud))
    quiet = GuardrailCallbackHandler(judging(local, SURE))
    assert FakeListLLM(responses=["x"]).invoke("Where?", config=using(quiet)) == "x"
    assert "judges chat models" in caplog.text  # LangChain's warning: not silent


def test_messages_that_cannot_be_judged(local, caplog):
    image = [HumanMessage([{"type": "image_url", "image_url": {"url": "https://example.org/a.png"}}])]
    with pytest.raises(DataError):
        foreign("x").invoke(image, config=using(GuardrailCallbackHandler(judging(local, SURE), raise_below=0.1)))
    message = foreign("x").invoke(image, config=using(GuardrailCallbackHandler(judging(local, SURE))))
    assert "guardrail" not in message.response_metadata
    assert "image_url" in caplog.text


def test_a_cache_does_not_get_an_unsure_answer_through(local):
    """LangChain caches the message that the handler annotates, before the handler raises."""
    model = foreign("In Peru.")
    model.cache = InMemoryCache()
    handler = GuardrailCallbackHandler(judging(local, UNSURE), raise_on_abstain=True)
    for _ in range(3):
        with pytest.raises(LowConfidenceError):
            model.invoke("Where?", config=using(handler))
    assert len(model.calls) == 1
    assert ABSTAINED in GuardRunnable(judging(local, UNSURE), model=model).invoke("Where?").text


def test_raise_below_is_a_probability(local):
    with pytest.raises(DataError, match="raise_below is 50"):
        GuardrailCallbackHandler(judging(local, SURE), raise_below=50)


def test_chat_hugging_face_pipelines(local, pipeline_chat):
    """The pipeline gives prompt and answer in one text; only the answer is judged."""
    verdicts = []
    handler = GuardrailCallbackHandler.from_chat_huggingface(
        pipeline_chat, policy="observe", on_verdict=verdicts.append
    )
    assert handler.guard.model.model is local.model
    message = pipeline_chat.invoke([HumanMessage("Where?")], config=using(handler))
    assert "Where?" in message.content
    (verdict,) = verdicts
    assert "Where?" not in verdict.answer
    assert message.content.rstrip().endswith(verdict.answer)  # a verdict has the answer without white space at its ends
    assert verdict.score.unscored is None
    assert read_metadata(message)["score"]["length"] == verdict.score.length


def test_chat_models_without_a_local_pipeline_are_refused():
    with pytest.raises(ModelError, match="Foreign"):
        GuardrailCallbackHandler.from_chat_huggingface(foreign("x"))
