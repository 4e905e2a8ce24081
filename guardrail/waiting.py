"""Waiting, with a limit, for work that may never end; and how long work took, whatever the clock does meanwhile."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from contextvars import copy_context
from typing import TypeVar

from guardrail.errors import GuardrailError

T = TypeVar("T")


class OverdueError(GuardrailError):
    """Work was not done in time."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"did not answer within {seconds:g} s")


def seconds_since(began: float) -> float:
    """Seconds since a reading of `time.perf_counter`; never negative, not even where the clock was set back (a machine that
    slept or moved).
    """
    return max(0.0, time.perf_counter() - began)


def rate(done: int, began: float) -> float:
    """How many a second since a reading of `time.perf_counter`; 0 where no time has passed."""
    return done / seconds if (seconds := seconds_since(began)) else 0.0


def within(seconds: float | None, work: Callable[[], T]) -> T:
    """The result of `work`, or what it raises, waited for no longer than `seconds`.

    Python cannot end a thread: work that does not return is left behind, in a thread that does not keep the process from
    ending. It sees the caller's context variables.

    Args:
        seconds: None runs the work here, without a limit.
        work: What may take long.

    Raises:
        OverdueError: It was not done in time.
    """
    if seconds is None:
        return work()
    future, ended = _begun(work)
    if not ended.wait(seconds):
        raise OverdueError(seconds)
    return future.result()


async def awithin(seconds: float | None, work: Callable[[], T]) -> T:
    """`within` for async code: the event loop goes on meanwhile, also without a limit, and none of its threads is taken."""
    future, _ = _begun(work)
    return await aovertaken(seconds, asyncio.wrap_future(future))


async def aovertaken(seconds: float | None, work: Awaitable[T]) -> T:
    """The result of async work, which is cancelled after `seconds`; see `within`."""
    try:
        async with asyncio.timeout(seconds) as limit:
            return await work
    except TimeoutError as error:
        if seconds is not None and limit.expired():
            raise OverdueError(seconds) from error
        raise


def _begun(work: Callable[[], T]) -> tuple[Future[T], threading.Event]:
    """Work in a thread of its own, and what tells that it has ended."""
    future: Future[T] = Future()
    future.set_running_or_notify_cancel()  # nobody can cancel it, and so its result has a place to go to
    ended = threading.Event()
    context = copy_context()

    def run() -> None:
        try:
            future.set_result(context.run(work))
        except BaseException as error:  # whatever it is, the caller raises it
            future.set_exception(error)
        ended.set()

    threading.Thread(target=run, name="guardrail-limited", daemon=True).start()
    return future, ended
