"""Async calls take turns on one model; who waits for a retriever steps aside, and the search is a part of the call's run."""

from __future__ import annotations

import asyncio
import threading

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever

from guardrail.langchain import ChatGuarded, read_metadata
from guardrail.langchain.turns import ModelQueue
from guardrail.testing import tiny_local_model
from tests.helpers.langchain_doubles import UNSURE, Fixed, Passages, calibrator, judging

LOCAL = tiny_local_model(vocab_size=261, max_position_embeddings=2048)


def test_work_runs_in_order_and_one_at_a_time():
    turns, running, order = ModelQueue(), [], []

    def work(i):
        running.append(i)
        assert running == [i]
        order.append(running.pop())
        return i

    futures = [turns.submit(lambda i=i: work(i)) for i in range(50)]
    assert [f.result(5) for f in futures] == order == list(range(50))


def test_errors_and_cancelled_work():
    turns, hold = ModelQueue(), threading.Event()
    first = turns.submit(hold.wait)
    dropped, failing = turns.submit(lambda: 1), turns.submit(lambda: 1 / 0)
    assert dropped.cancel()
    hold.set()
    assert first.result(5)
    assert isinstance(failing.exception(5), ZeroDivisionError)
    assert turns.submit(lambda: 2).result(5) == 2


def test_who_steps_aside_lets_others_work_and_comes_back_alone():
    turns, alone = ModelQueue(), threading.Lock()

    def work(depth):
        with turns.yield_turn():
            inner = turns.submit(lambda: work(depth - 1)).result(5) if depth else 0
        assert alone.acquire(blocking=False)
        alone.release()
        return inner + 1

    futures = [turns.submit(lambda: work(4)) for _ in range(8)]
    assert [f.result(10) for f in futures] == [5] * 8
    with turns.yield_turn():  # a thread that has no turn
        assert turns.submit(lambda: 3).result(5) == 3


class AsyncOnly(BaseRetriever):
    """Asks the chat model that it retrieves for, as query rewriting does; has no sync side but this."""

    chat: list
    drive: str
    asked: list = []

    async def _ask(self, query):
        self.asked.append((await self.chat[0].ainvoke(f"Rewrite: {query}", max_tokens=1)).content)
        return [Document(page_content="A passage.")]

    def _get_relevant_documents(self, query, *, run_manager):
        if self.drive == "here":
            return asyncio.run(self._ask(query))
        if self.drive == "the callers loop":
            return asyncio.run_coroutine_threadsafe(self._ask(query), self.chat[1]).result(20)
        out = []
        thread = threading.Thread(target=lambda: out.extend(asyncio.run(self._ask(query))))
        thread.start()
        thread.join(20)
        assert not thread.is_alive()
        return out


class OneSearch(Fixed):
    """The question is unsure and nothing else is, so that the rewriting does not retrieve again."""

    def _score(self, trace):
        rewriting = "Rewrite" in str(trace.messages)
        return Fixed(-UNSURE if rewriting else UNSURE, evidence=None if rewriting else -UNSURE)._score(trace)


@pytest.mark.parametrize("many", [1, 3])
@pytest.mark.parametrize("drive", ["here", "the callers loop", "a thread"])
def test_a_retriever_may_ask_the_same_model(drive, many):
    async def ask():
        retriever = AsyncOnly(chat=[], drive=drive, asked=[])
        chat = ChatGuarded(
            model=LOCAL, scorer=OneSearch(0), calibrator=calibrator(LOCAL), policy="default", retriever=retriever
        )
        retriever.chat += [chat, asyncio.get_running_loop()]
        return await asyncio.wait_for(asyncio.gather(*[chat.ainvoke("Where?") for _ in range(many)]), 30), retriever

    messages, retriever = asyncio.run(ask())
    assert [read_metadata(m)["actions"][0] for m in messages] == ["retrieve"] * many
    assert len(retriever.asked) == many


class Runs(BaseCallbackHandler):
    def __init__(self):
        self.models, self.searches = [], []

    def on_chat_model_start(self, serialized, messages, *, run_id, **kwargs):
        self.models.append((messages[0][-1].text, run_id))

    def on_retriever_start(self, serialized, query, *, parent_run_id, **kwargs):
        self.searches.append((query, parent_run_id))


@pytest.mark.parametrize("how", ["invoke", "ainvoke", "batch", "abatch", "generate_one"])
def test_the_search_belongs_to_its_models_run(how):
    guard = judging(LOCAL, UNSURE, evidence=-UNSURE, policy="retrieve_first", retriever=Passages(queries=[]))
    chat, runs = ChatGuarded.from_guard(guard), Runs()
    config, questions = {"callbacks": [runs]}, ["Where?", "When?", "Who?"]
    match how:
        case "invoke":
            chat.invoke("Where?", config)
        case "ainvoke":
            asyncio.run(chat.ainvoke("Where?", config))
        case "batch":
            chat.batch(questions, config)
        case "abatch":
            asyncio.run(chat.abatch(questions, config))
        case "generate_one":
            chat.generate([chat._convert_input("Where?").to_messages()], **config)
    assert runs.searches
    assert sorted(runs.searches) == sorted(runs.models)
