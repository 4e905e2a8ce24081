"""Text that lies in no claim reaches nobody: claim-wise and answer-wise streams, alone, in chains and in agents."""

from __future__ import annotations

import asyncio
from functools import cache

import pytest
from langchain.agents import create_agent
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnablePassthrough

from guardrail import Guard
from guardrail.claims import SentenceClaims
from guardrail.langchain import ChatGuarded
from guardrail.types import Claims
from tests.helpers.scripted_claims import QUESTION, fitted, ruled, scripted

ANSWER = "Ulm is big. Ur was old. Rio has fun. Ely is wet."
local = cache(lambda: scripted(ANSWER))
POLICY = ruled("{name: any, then: answer}")


class Loses:
    """The sentences of an answer, but for one, which it takes for nothing; from an answer's length on."""

    name, options = "sentences", {"language": "en"}

    def __init__(self, word, at_least=0):
        self.word, self.at_least = word, at_least

    def extract(self, answer, *, question=""):
        taken = SentenceClaims().extract(answer, question=question)
        lost = self.word if len(answer) >= self.at_least else "\0"
        return Claims(tuple(c for c in taken.claims if lost not in c.text), taken.asides)


class LosesWords(Loses):
    """Its claims end before their last word."""

    def extract(self, answer, *, question=""):
        taken = SentenceClaims().extract(answer, question=question)
        cut = [type(c)(answer[c.start : c.start + 4].strip(), c.start, c.start + 4) for c in taken.claims]
        return Claims(tuple(c for c in cut if c.end <= len(answer)), taken.asides)


LOSING = {
    "the first": (Loses("Ulm"), ["Ulm is", "is big"]),
    "one in the middle": (Loses("Rio"), ["Rio has", "has fun"]),
    "the last": (Loses("Ely"), ["Ely is", "is wet"]),
    "late": (Loses("Rio", at_least=len(ANSWER)), ["has fun"]),
    "words": (LosesWords(""), ["is big", "was old", "has fun", "is wet"]),
}


def chat(extractor, stream_policy):
    guard = Guard(model=local(), policy=POLICY, claims=extractor, claim_calibrator=fitted(local(), 1e3))
    return ChatGuarded.from_guard(guard, stream_policy=stream_policy)


def chain(model):
    return {"question": RunnablePassthrough()} | ChatPromptTemplate.from_template("{question}") | model


async def collected(stream):
    return [item async for item in stream]


def stream(model):
    return list(model.stream(QUESTION))


def astream(model):
    return asyncio.run(collected(model.astream(QUESTION)))


def in_a_chain(model):
    return list((chain(model) | StrOutputParser()).stream(QUESTION))


def in_an_async_chain(model):
    return asyncio.run(collected((chain(model) | StrOutputParser()).astream(QUESTION)))


def events(model):
    return asyncio.run(collected(chain(model).astream_events(QUESTION, version="v2")))


def in_an_agent(model):
    agent = create_agent(model)
    return list(agent.stream({"messages": [("user", QUESTION)]}, stream_mode=["values", "messages", "updates"]))


def in_an_async_agent(model):
    agent = create_agent(model)
    asked = {"messages": [("user", QUESTION)]}
    return asyncio.run(collected(agent.astream(asked, stream_mode=["values", "messages", "updates"])))


DRIVES = (stream, astream, in_a_chain, in_an_async_chain, events, in_an_agent, in_an_async_agent)


def joined(seen):
    """What chunks say one after the other; a text that leaves in pieces shows in no single one of them."""
    texts = [
        getattr(each[1][0] if isinstance(each, tuple) and each[0] == "messages" else each, "text", None)
        for each in seen
    ]
    return "".join(text for text in texts if isinstance(text, str))


CASES = [
    *(("one in the middle", policy, drive) for policy in ("claim", "answer") for drive in DRIVES),
    *((loss, "claim", astream) for loss in LOSING if loss not in ("one in the middle", "late")),
    *((loss, "answer", stream) for loss in LOSING if loss != "one in the middle"),
]


@pytest.mark.parametrize(("loss", "stream_policy", "drive"), CASES)
def test_what_an_extractor_loses_leaves_on_no_surface(loss, stream_policy, drive):
    """Late in a stream of claims, what it loses was a claim, judged and shown, before."""
    extractor, lost = LOSING[loss]
    seen = drive(chat(extractor, stream_policy))
    assert not any(words in f"{seen!r} {joined(seen)}" for words in lost)
    if stream_policy == "answer":
        assert "lie in no claim" in repr(seen)


@pytest.mark.parametrize("stream_policy", ["claim", "answer"])
def test_the_probe_finds_what_a_sound_extractor_lets_out(stream_policy):
    for drive in DRIVES:
        seen = drive(chat(SentenceClaims(), stream_policy))
        assert "Rio has fun." in f"{seen!r} {''.join(s for s in seen if isinstance(s, str))}", drive.__name__


def test_the_verdict_says_where_it_stands_and_not_what_it_says():
    message = chat(LOSING["one in the middle"][0], "answer").invoke(QUESTION)
    metadata = message.response_metadata["guardrail"]
    assert (metadata["action"], metadata["rule"]) == ("abstain", "text that nobody judged")
    assert metadata["explanation"] == "1 part of the answer lie in no claim, the first at characters 24 to 36"
    assert "Rio" not in repr(message)
