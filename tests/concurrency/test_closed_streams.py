"""A stream that is closed early, at any piece or any turn of the event loop, gives the model back as it was."""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest

from guardrail import Guard
from guardrail.deadlines import Deadline, before
from guardrail.errors import DeadlineError
from guardrail.kernels.frozen import lock_of
from guardrail.langchain import ChatGuarded
from guardrail.testing import tiny_local_model

LOCAL = tiny_local_model(vocab_size=261)
POLICIES = ("answer", "claim", "passthrough")


def chat(stream_policy):
    guard = Guard(model=LOCAL, policy="observe", claims="sentences")
    return ChatGuarded.from_guard(guard, stream_policy=stream_policy, max_tokens=8)


def wiring():
    """Hooks, patched forwards, flags: everything that generation and scoring switch on and off."""
    hooks = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks")
    return [
        (module.training, "forward" in vars(module), [list(getattr(module, name)) for name in hooks])
        for module in LOCAL.model.modules()
    ] + [LOCAL.model.generation_config.to_dict()]


BEFORE = wiring()


def given_back():
    """Whether another thread has the model, as it was, within the time that a token takes."""
    got = []

    def take():
        with suppress(DeadlineError), before(Deadline.after(20)), lock_of(LOCAL.model):
            got.append(wiring() == BEFORE)

    thread = threading.Thread(target=take)
    thread.start()
    thread.join()
    return got == [True]


def settled():
    """Threads of streams end at their next token."""
    end = time.monotonic() + 20
    while any(t.name.startswith("guardrail-stream") for t in threading.enumerate()) and time.monotonic() < end:
        time.sleep(0.01)
    return given_back()


@pytest.mark.parametrize("policy", POLICIES)
def test_a_stream_that_is_left_early(policy):
    model = chat(policy)
    expected = [chunk.text for chunk in model.stream("Who?")]
    for pieces in range(1, len(expected)):
        stream = model.stream("Who?")
        for _ in range(pieces):
            next(stream)
        stream.close()
        assert settled()
        assert [chunk.text for chunk in model.stream("Who?")] == expected


@pytest.mark.parametrize("policy", POLICIES)
def test_an_async_stream_that_is_left_early(policy):
    model = chat(policy)
    expected = [chunk.text for chunk in model.stream("Who?")]

    async def left(pieces, how):
        stream = model.astream("Who?")
        for _ in range(pieces):
            await anext(stream)
        if how == "aclose":
            await stream.aclose()

    for pieces in range(1, len(expected)):
        asyncio.run(left(pieces, "aclose"))
        asyncio.run(left(pieces, "forgotten"))  # the loop closes it when it ends
        assert settled()
        assert [chunk.text for chunk in model.stream("Who?")] == expected


@pytest.mark.parametrize("policy", POLICIES)
def test_a_task_cancelled_at_any_turn(policy):
    model = chat(policy)
    expected = model.invoke("Who?").text

    async def cancelled(turns):
        task = asyncio.ensure_future(collected(model.astream("What?")))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    for turns in (*range(0, 20, 3), 50, 200):
        asyncio.run(cancelled(turns))
        assert settled()
    assert model.invoke("Who?").text == expected


async def collected(stream):
    return "".join([chunk.text async for chunk in stream])


def test_threads_and_tasks_mixed_with_cancelled_and_closed_ones():
    models = {policy: chat(policy) for policy in POLICIES}
    questions = [f"Number {i}?" for i in range(4)]
    serial = {q: models["answer"].invoke(q).text for q in questions}

    def left(model, question):
        stream = model.stream(question)
        next(stream)
        stream.close()

    async def tasks():
        kept = [(q, asyncio.ensure_future(collected(models[p].astream(q)))) for q in questions for p in POLICIES]
        kept += [(q, asyncio.ensure_future(collected(models["answer"].astream(q)))) for q in questions * 5]
        lost = [asyncio.ensure_future(models[p].ainvoke(q)) for q in questions for p in POLICIES]
        lost += [asyncio.ensure_future(collected(models[p].astream(q))) for q in questions * 2 for p in POLICIES[:2]]
        for i, task in enumerate(lost):
            for _ in range(i % 5):
                await asyncio.sleep(0)
            task.cancel()
        got = [(q, await task) for q, task in kept]
        await asyncio.gather(*lost, return_exceptions=True)
        return got, len(kept) + len(lost)

    with ThreadPoolExecutor(32) as threads:
        closed = [threads.submit(left, models[p], q) for q in questions for p in POLICIES]
        answered = [(q, threads.submit(lambda m, q: m.invoke(q).text, models["answer"], q)) for q in questions * 5]
        got, count = asyncio.run(tasks())
        assert count >= 60
        assert len(closed) + len(answered) == 32
        for future in closed:
            future.result()
        assert all(text == serial[q] for q, text in got)
        assert all(future.result() == serial[q] for q, future in answered)
    assert settled()
