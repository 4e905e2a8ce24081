"""Searches that hang, lie, find everything or nothing, wherever something is looked up: an explicit outcome, in time."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time
from itertools import repeat

import pytest
from langchain_core.documents import Document
from langchain_core.embeddings import DeterministicFakeEmbedding
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import RunnableLambda
from langchain_core.vectorstores import InMemoryVectorStore, VectorStore

from guardrail import Guard, Policy
from guardrail.errors import PartError, RetrievalError
from guardrail.langchain import as_retriever_gate
from guardrail.testing import tiny_local_model
from guardrail.verification import ModelVerifier
from guardrail.verification.premises import PremiseFinder
from guardrail.waiting import OverdueError, aovertaken, awithin
from tests.helpers.langchain_doubles import SURE, UNSURE, judging
from tests.helpers.scripted_claims import QUESTION, RULES, fitted, scripted

LOCAL = tiny_local_model(vocab_size=261)
NEVER = threading.Event()
BOUND = 20.0  # seconds; far more than a limit of 0.2 s needs, and less than what hangs
LIMITED = """
version: 1
name: limited
limits: {retriever: 0.2, verifier: 0.2}
on_error: %s
rules:
  - {name: look, when: {confidence: {below: 0.5}}, then: retrieve}
  - {name: rest, then: answer}
"""


class Finds(BaseRetriever):
    """Has a sync side alone, as most retrievers."""

    act: object

    def _get_relevant_documents(self, query, *, run_manager):
        return self.act(query)


class FindsInTasks(Finds):
    """Has an async side of its own."""

    async def _aget_relevant_documents(self, query, *, run_manager):
        if self.act is hangs:
            await asyncio.sleep(30)
        return self.act(query)


class Store(InMemoryVectorStore):
    """A vector store whose search hangs; its async side is LangChain's own."""

    asimilarity_search = VectorStore.asimilarity_search

    def similarity_search(self, query, k=4, **kwargs):
        return hangs(query)


def hangs(_):
    NEVER.wait(30)
    return []


def stored(_):
    return Store(DeterministicFakeEmbedding(size=4)).as_retriever()


def raises(_):
    raise TimeoutError("the index is busy")


MANY = [Document(page_content=str(i), metadata={"i": i}) for i in range(10_000)]
FAILING = {
    "hangs": (hangs, RetrievalError, r"did not answer within 0\.2 s; the limit is the policy's limits\.retriever"),
    "raises": (raises, TimeoutError, "the index is busy"),
    "none": (lambda q: None, RetrievalError, "it gave NoneType, not a list of documents"),
    "a string": (lambda q: "a passage", RetrievalError, "it gave str"),
    "a mapping": (lambda q: {"page_content": "x"}, RetrievalError, "it gave dict"),
    "plain text": (lambda q: ["a passage"], RetrievalError, "page_content"),
    "text is bytes": (
        lambda q: [type("D", (), {"page_content": b"x", "metadata": {}})()],
        RetrievalError,
        "text of a document is bytes",
    ),
}
KINDS = {"sync side": Finds, "async side": FindsInTasks}


def gate(retriever, on_error="abstain", usual=UNSURE):
    policy = Policy.from_text(LIMITED % on_error, "limited.yaml")
    return as_retriever_gate(judging(LOCAL, usual, policy=policy), retriever)


def asked(gated, way):
    if way == "invoke":
        return gated.invoke("Where?")
    return asyncio.run(gated.ainvoke("Where?"))


@pytest.mark.parametrize("way", ["invoke", "ainvoke"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("fault", FAILING)
class TestTheGate:
    def test_a_search_that_fails_is_loud(self, fault, kind, way):
        act, error, words = FAILING[fault]
        began = time.monotonic()
        with pytest.raises(error, match=words):
            asked(gate(KINDS[kind](act=act)), way)
        assert time.monotonic() - began < BOUND

    def test_where_the_policy_goes_on_it_finds_nothing(self, fault, kind, way, caplog):
        assert asked(gate(KINDS[kind](act=FAILING[fault][0]), "continue"), way) == []
        assert "goes on without documents" in caplog.text


@pytest.mark.parametrize("way", ["invoke", "ainvoke"])
@pytest.mark.parametrize("kind", KINDS)
def test_what_a_gate_hands_on_of_many_documents_and_of_none(kind, way):
    assert asked(gate(KINDS[kind](act=lambda q: MANY)), way) == MANY[:1_000]
    assert asked(gate(KINDS[kind](act=lambda q: repeat(MANY[7]))), way) == MANY[7:8] * 1_000
    assert asked(gate(KINDS[kind](act=lambda q: [])), way) == []
    assert asked(gate(KINDS[kind](act=hangs), usual=SURE), way) == []  # not asked at all


@pytest.mark.parametrize("retriever", [stored(None), RunnableLambda(hangs)])
def test_other_things_that_can_be_asked_have_the_limit_too(retriever):
    with pytest.raises(RetrievalError, match=r"did not answer within 0\.2 s"):
        asked(gate(retriever), "invoke")


def test_a_gate_whose_guard_failed_looks_up():
    guard = judging(LOCAL, SURE, policy=Policy.from_text(LIMITED % "abstain", "limited.yaml"))
    guard.calibrated.scorer.score_traces = raises
    assert as_retriever_gate(guard, Finds(act=lambda q: MANY[:1])).invoke("Where?") == MANY[:1]


class Embeds(DeterministicFakeEmbedding):
    act: object

    def embed_documents(self, texts):
        return self.act(texts)


def verifying(act, on_error="abstain"):
    """A guard that looks every claim up, and finds the premises with these embeddings."""
    local = scripted("Ulm is big. Ur was old.")
    text = f"{RULES}  - {{name: any, then: answer}}\nlimits: {{verifier: 0.3}}\non_error: {on_error}\n"
    return Guard(
        model=local,
        policy=Policy.from_text(text, "strict.yaml"),
        claim_calibrator=fitted(local, 1e-9),
        retriever=Finds(act=lambda q: [Document(page_content="Ulm is a big city.")]),
        verifier=ModelVerifier(local, premises=PremiseFinder(Embeds(size=3, act=act))),
    )


EMBEDDINGS = {
    "hangs": hangs,
    "NaN": lambda texts: [[float("nan")] * 3 for _ in texts],
    "one NaN": lambda texts: [[1.0, 0.0, 0.0] if i else [float("nan"), 0.0, 0.0] for i, _ in enumerate(texts)],
    "infinity": lambda texts: [[float("inf"), 0.0, 0.0] for _ in texts],
    "too few": lambda texts: [[1.0, 0.0, 0.0]],
    "other lengths": lambda texts: [[1.0] * (i + 1) for i, _ in enumerate(texts)],
    "no numbers": lambda texts: [["1", "0", "0"] for _ in texts],
    "None": lambda texts: None,
}


@pytest.mark.parametrize("fault", EMBEDDINGS)
def test_premises_that_cannot_be_found_are_a_verifier_that_fails(fault):
    """Never a cosine that is no number, and never "not found" in its place."""
    began = time.monotonic()
    verdict = verifying(EMBEDDINGS[fault]).answer(QUESTION)
    assert (verdict.rule, verdict.confidence.p_correct) == ("on error", None)
    assert "verifier" in verdict.explanation or "embedding" in verdict.explanation
    assert time.monotonic() - began < BOUND
    with pytest.raises((PartError, RetrievalError)):
        verifying(EMBEDDINGS[fault], "raise").answer(QUESTION)
    went_on = verifying(EMBEDDINGS[fault], "continue").answer(QUESTION)
    assert [claim.verification for claim in went_on.claims] == [None, None]


def test_sound_embeddings_verify():
    found = verifying(lambda texts: [[1.0, 0.0, 0.0] for _ in texts]).answer(QUESTION)
    assert all(claim.verification is not None for claim in found.claims)


def test_async_waiting_has_a_limit_and_keeps_a_timeout_of_the_work_apart():
    async def run():
        assert await awithin(5, lambda: 7) == 7
        with pytest.raises(OverdueError):
            await awithin(0.05, lambda: hangs(None))
        with pytest.raises(TimeoutError, match="busy"):
            await awithin(5, lambda: raises(None))
        with pytest.raises(OverdueError):
            await aovertaken(0.05, asyncio.sleep(30))

    began = time.monotonic()
    asyncio.run(run())
    assert time.monotonic() - began < BOUND


ENDS = """
import asyncio, threading, sys
sys.path.insert(0, ".")
from tests.faults.test_searches import *
NEVER.wait = lambda seconds: threading.Event().wait()

for retriever in (Finds(act=hangs), stored(None)):
    guard = Guard(model=LOCAL, scorer=judging(LOCAL, UNSURE).scorer, calibrator=judging(LOCAL, UNSURE).calibrator,
                  policy=Policy.from_text(LIMITED % "abstain", "l"), retriever=retriever)
    print(guard.answer("Where?", max_new_tokens=2).rule)
    for way in ("invoke", "ainvoke"):
        try:
            asked(gate(retriever), way)
        except RetrievalError as error:
            print("late")
print("end", flush=True)
"""


def test_a_search_that_never_ends_does_not_keep_the_process():
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", ENDS], capture_output=True, text=True, timeout=120)
    assert done.stdout.split("\n")[:-1] == [*["on error", "late", "late"] * 2, "end"], done.stderr
    assert done.returncode == 0
