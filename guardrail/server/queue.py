"""Who may work on the model now, who waits, and who is turned away."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager
from contextvars import copy_context
from typing import TypeVar

from guardrail.deadlines import Deadline
from guardrail.server.errors import ApiError
from guardrail.server.metrics import Metrics

T = TypeVar("T")


class Slots:
    """So many requests work at the same time, each in a thread; so many wait; the next is refused. For one event loop."""

    def __init__(self, slots: int, waiting: int, metrics: Metrics) -> None:
        self._free = asyncio.Semaphore(slots)
        self._most, self._metrics = waiting, metrics
        self._threads = ThreadPoolExecutor(max_workers=slots, thread_name_prefix="guardrail-serve")
        self._idle = asyncio.Event()
        self._idle.set()
        self.working = self.waiting = 0

    @asynccontextmanager
    async def slot(self, deadline: Deadline | None) -> AsyncIterator[None]:
        """A slot, waited for until the deadline. Raises `ApiError` (429) where too many wait, `DeadlineError`."""
        if self._free.locked() and self.waiting >= self._most:
            raise ApiError(
                429, "queue_full", f"{self.waiting} requests wait already; try again in a moment", retry_after=1
            )
        begun = time.perf_counter()
        self._count(waiting=1)
        try:
            try:
                async with asyncio.timeout(None if deadline is None else deadline.left):
                    await self._free.acquire()
            finally:
                self._count(waiting=-1)
        except TimeoutError as error:
            raise (deadline.missed() if deadline is not None else error) from None
        self._metrics.queue_wait.observe(time.perf_counter() - begun)
        self._count(working=1)
        try:
            yield
        finally:
            self._count(working=-1)
            self._free.release()

    async def run(self, work: Callable[[], T], abandon: Callable[[], None]) -> T:
        """Do work in a thread, inside a slot. Cancelled, it is abandoned, and waited for until its next token ends it."""
        future: Future[T] = self._threads.submit(copy_context().run, work)
        waiting = asyncio.wrap_future(future)
        try:
            return await asyncio.shield(waiting)
        except asyncio.CancelledError:
            abandon()
            while not waiting.done():  # the slot is free only when the model is
                try:
                    await asyncio.wait([waiting])
                except asyncio.CancelledError:
                    continue
            if not waiting.cancelled():
                waiting.exception()  # seen
            raise

    async def idle(self) -> None:
        """Until nobody works or waits."""
        await self._idle.wait()

    def _count(self, *, working: int = 0, waiting: int = 0) -> None:
        self.working, self.waiting = self.working + working, self.waiting + waiting
        self._metrics.queue_length.set(self.waiting)
        if self.working or self.waiting:
            self._idle.clear()
        else:
            self._idle.set()
