"""One Guard, many callers: each gets what it would have got alone, whoever else was cancelled."""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from guardrail import Guard
from guardrail.langchain import ChatGuarded
from guardrail.testing import tiny_local_model

LOCAL = tiny_local_model(vocab_size=261)
QUESTIONS = [f"Number {i}?" for i in range(8)]


@pytest.fixture(scope="module")
def guard():
    return Guard(model=LOCAL, policy="observe")


@pytest.fixture
def chat():
    return ChatGuarded(model=LOCAL, policy="observe", max_tokens=4)


def told(verdict):
    """A verdict without its timings."""
    return {key: value for key, value in verdict.to_dict().items() if key != "timing_ms"}


def test_threads_that_answer_batch_and_check_get_the_serial_verdicts(guard):
    def answered(question):
        return told(guard.answer(question, max_new_tokens=4))

    def checked(question):
        return told(guard.check(question, "It is so."))

    def batched(question):
        first, second = guard.answer_batch([question, "Another?"], max_new_tokens=4)
        return first.text, second.text, round(first.score.value, 9), round(second.score.value, 9)

    calls = [(kind, question) for question in QUESTIONS[:6] for kind in (answered, batched, checked)]
    serial = [kind(question) for kind, question in calls]
    with ThreadPoolExecutor(32) as threads:
        assert list(threads.map(lambda call: call[0](call[1]), calls * 2)) == serial * 2


def test_tasks_of_each_kind_get_the_serial_answers(chat):
    async def streamed(question):
        return "".join([chunk.text async for chunk in chat.astream(question)])

    async def invoked(question):
        return (await chat.ainvoke(question)).text

    async def batched(question):
        return (await chat.abatch([question, "Another?"]))[0].text

    async def all_of_them():
        calls = [kind(question) for question in QUESTIONS for kind in (streamed, invoked, batched)]
        return await asyncio.gather(*calls, *(invoked(QUESTIONS[i % 8]) for i in range(40)))

    serial = [chat.invoke(question).text for question in QUESTIONS]
    got = asyncio.run(all_of_them())
    assert len(got) == 64
    assert got == [text for text in serial for _ in range(3)] + [serial[i % 8] for i in range(40)]


async def cancelled_after(coroutine, steps):
    """Let the event loop turn so often, then cancel. Whether the task was done before; waits for its end."""
    task = asyncio.ensure_future(coroutine)
    for _ in range(steps):
        if task.done():
            break
        await asyncio.sleep(0)
    task.cancel()
    try:
        await task
    except asyncio.CancelledError:
        return False
    return True


async def consumed(stream):
    return [chunk async for chunk in stream]


@pytest.mark.parametrize("way", ["ainvoke", "astream", "abatch"])
def test_a_call_cancelled_at_any_turn_leaves_the_others_as_they_are(chat, way):
    expected = chat.invoke("Who?").text

    def begun():
        if way == "astream":
            return consumed(chat.astream("What?"))
        return chat.ainvoke("What?") if way == "ainvoke" else chat.abatch(["What?", "Why?"])

    async def run():
        for steps in [*range(24), 100, 1000]:
            beside = asyncio.ensure_future(chat.ainvoke("Who?"))
            await cancelled_after(begun(), steps)
            assert (await asyncio.wait_for(beside, 60)).text == expected, f"cancelled after {steps} turns"

    asyncio.run(run())
    assert chat.invoke("Who?").text == expected


def test_cancelled_calls_start_no_threads_that_stay(chat):
    """One thread waits for the next call, as before."""
    asyncio.run(chat.ainvoke("Who?"))
    before = {thread.name for thread in threading.enumerate()}

    async def run():
        for steps in (1, 3, 10):
            await asyncio.gather(*(cancelled_after(chat.ainvoke(q), steps) for q in QUESTIONS))

    asyncio.run(run())
    end = time.monotonic() + 30
    while (left := {thread.name for thread in threading.enumerate()} - before) and time.monotonic() < end:
        time.sleep(0.05)
    assert left == set()
