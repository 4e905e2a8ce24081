"""Observers that raise: the caller gets what they raised in place of the answer, on every surface; telemetry takes none."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path

import pytest
from langchain.agents import create_agent
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider

from guardrail import Guard
from guardrail.errors import DataError, LowConfidenceError
from guardrail.langchain import (
    ChatGuarded,
    GuardrailCallbackHandler,
    GuardrailMiddleware,
    GuardRunnable,
    as_retriever_gate,
)
from guardrail.observers.telemetry import Telemetry
from guardrail.observers.verdict_log import VerdictLog
from guardrail.testing import tiny_local_model
from tests.helpers.langchain_doubles import SURE, UNSURE, Foreign, Passages, judging

LOCAL = tiny_local_model(vocab_size=261, max_position_embeddings=2048)
QUESTION = "Where is it?"
SAID = "It lies beside Atlantis."


def asked(stream):
    """What an async stream gives, up to its error."""

    async def collect():
        return [chunk.text async for chunk in stream]

    return "".join(asyncio.run(collect()))


def chat(guard, **options):
    return ChatGuarded.from_guard(guard, max_tokens=4, **options)


def judged(guard):
    judging_it = guard.judge(QUESTION)
    next(judging_it)
    try:
        judging_it.send(SAID)
    except StopIteration as end:
        return end.value.text


def agent(model, *middleware):
    return (
        create_agent(model, middleware=list(middleware)).invoke({"messages": [("user", QUESTION)]})["messages"][-1].text
    )


def async_agent(model, *middleware):
    made = create_agent(model, middleware=list(middleware))
    return asyncio.run(made.ainvoke({"messages": [("user", QUESTION)]}))["messages"][-1].text


def foreign():
    return Foreign(script=[SAID], calls=[])


SURFACES = {
    "answer": lambda guard: guard.answer(QUESTION, max_new_tokens=4).text,
    "answer_batch": lambda guard: guard.answer_batch([QUESTION, "Why?"], max_new_tokens=4)[0].text,
    "check": lambda guard: guard.check(QUESTION, SAID).text,
    "judge": judged,
    "invoke": lambda guard: chat(guard).invoke(QUESTION).text,
    "ainvoke": lambda guard: asyncio.run(chat(guard).ainvoke(QUESTION)).text,
    "batch": lambda guard: chat(guard).batch([QUESTION, "Why?"])[0].text,
    "abatch": lambda guard: asyncio.run(chat(guard).abatch([QUESTION, "Why?"]))[0].text,
    "stream": lambda guard: "".join(chunk.text for chunk in chat(guard).stream(QUESTION)),
    "astream": lambda guard: asked(chat(guard).astream(QUESTION)),
    "runnable": lambda guard: GuardRunnable(guard, model=foreign()).invoke(QUESTION).text,
    "pair": lambda guard: GuardRunnable(guard).invoke({"messages": QUESTION, "answer": SAID}).text,
    "agent": lambda guard: agent(chat(guard)),
    "async agent": lambda guard: async_agent(chat(guard)),
    "middleware": lambda guard: agent(foreign(), GuardrailMiddleware(guard)),
    "async middleware": lambda guard: async_agent(foreign(), GuardrailMiddleware(guard)),
    "gate": lambda guard: as_retriever_gate(guard, Passages(), below=0.5).invoke(QUESTION)[0].page_content,
}


def broken(observation):
    raise ZeroDivisionError("the observer's own")


def guarded(*observers, usual=UNSURE):
    return judging(LOCAL, usual, observers=observers)


@pytest.mark.parametrize("surface", SURFACES)
def test_what_an_observer_raises_comes_in_place_of_the_answer(surface):
    told = []
    with pytest.raises(ZeroDivisionError, match="the observer's own"):
        SURFACES[surface](guarded(broken, told.append, usual=SURE))
    assert len(told) == (2 if "batch" in surface else 1)  # once of each answer


@pytest.mark.parametrize("surface", SURFACES)
def test_a_log_on_a_full_disk_is_told_with_its_name(surface):
    with pytest.raises(DataError, match="cannot write the verdict log '/dev/full'"):
        SURFACES[surface](guarded(VerdictLog(Path("/dev/full"))))


@pytest.mark.parametrize("policy", ["claim", "passthrough"])
@pytest.mark.parametrize("drive", ["stream", "astream"])
def test_a_stream_ends_with_what_an_observer_raises(policy, drive):
    """What has left stays out; the last chunk, with the verdict, does not come."""
    guard = Guard(model=LOCAL, policy="observe", claims="sentences", observers=[broken])
    model, chunks = chat(guard, stream_policy=policy), []

    async def collect():
        async for chunk in model.astream(QUESTION):
            chunks.append(chunk)  # noqa: PERF401  (those before the error count)

    with pytest.raises(ZeroDivisionError):
        asyncio.run(collect()) if drive == "astream" else chunks.extend(model.stream(QUESTION))
    assert not any(chunk.response_metadata for chunk in chunks)


class Exploding(SpanProcessor):
    """An exporter that fails where the SDK hands it a span."""

    def __init__(self, when):
        self.when = when

    def on_start(self, span, parent_context=None):
        if self.when == "start":
            raise ConnectionError("no collector")

    def on_end(self, span):
        if self.when == "end":
            raise ConnectionError("no collector")


def spans(when):
    provider = TracerProvider()
    provider.add_span_processor(Exploding(when))
    return Telemetry(tracer_provider=provider, meter_provider=MeterProvider())


def attributes():
    telemetry = spans("never")
    telemetry._decisions.add = broken
    return telemetry


TELEMETRY = {"start": lambda: spans("start"), "end": lambda: spans("end"), "metric": attributes}


@pytest.mark.parametrize("fault", TELEMETRY)
@pytest.mark.parametrize("surface", SURFACES)
def test_telemetry_that_fails_takes_no_answer_away(surface, fault, caplog):
    expected = SURFACES[surface](guarded(Telemetry()))
    told = []
    assert SURFACES[surface](guarded(TELEMETRY[fault](), told.append)) == expected
    assert len(told) == (2 if "batch" in surface else 1)
    assert "telemetry of one verdict is lost" in caplog.text


def test_what_telemetry_can_still_record_it_records():
    provider = TracerProvider()
    ended = []
    processor = Exploding("never")
    processor.on_end = lambda span: ended.append(span.name)
    provider.add_span_processor(processor)
    telemetry = Telemetry(tracer_provider=provider, meter_provider=MeterProvider())
    telemetry._decisions.add = broken
    guarded(telemetry).check(QUESTION, SAID)
    assert "guardrail.check" in ended


def test_a_handler_whose_on_verdict_raises_has_told_of_every_verdict():
    """A handler that only observes disturbs no chain; one that may raise raises the safer of two errors."""
    told = []

    def tells(verdict):
        told.append(verdict.action)
        raise ZeroDivisionError

    guard = guarded()
    message = foreign().invoke(QUESTION, {"callbacks": [GuardrailCallbackHandler(guard, on_verdict=tells)]})
    assert told == ["abstain"]
    assert message.response_metadata["guardrail"]["action"] == "abstain"
    raising = GuardrailCallbackHandler(guard, on_verdict=tells, raise_on_abstain=True)
    with pytest.raises(LowConfidenceError):
        foreign().invoke(QUESTION, {"callbacks": [raising]})
    sure = GuardrailCallbackHandler(guarded(usual=SURE), on_verdict=tells, raise_on_abstain=True)
    with pytest.raises(ZeroDivisionError):
        foreign().invoke(QUESTION, {"callbacks": [sure]})


def cases():
    """(what was done, what it came to)."""
    for surface, ask in SURFACES.items():
        outcome = "AN ANSWER IN SPITE OF IT"
        with suppress(ZeroDivisionError):
            ask(guarded(broken))
            yield f"observer raises, {surface}", outcome
            continue
        yield f"observer raises, {surface}", "error of the observer"
