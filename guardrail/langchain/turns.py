"""Work that takes turns on one model, in threads of its own.

A model has one lock, so its calls run one at a time and in order; those of async code must neither block the event loop nor
fill its threads while they wait.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, TypeVar

T = TypeVar("T")

_MOST_THREADS = 1_000
"""More of them than pieces of work that have yielded their turn at the same time."""


class SideBySide:
    """A `ModelQueue` for a model that is elsewhere: nothing takes turns.

    >>> SideBySide().submit(lambda: 1 + 1).result()
    2
    """

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(max_workers=_MOST_THREADS, thread_name_prefix="guardrail")

    def submit(self, work: Callable[[], T]) -> Future[T]:
        """Begin a piece of work."""
        return self._threads.submit(work)

    def yield_turn(self) -> AbstractContextManager[None]:
        """There is none to yield."""
        return nullcontext()


class ModelQueue:
    """Runs one piece of work after the other. One that waits for something else calls `yield_turn`, and the next runs
    meanwhile: what it waits for may itself need a turn.

        >>> ModelQueue().submit(lambda: 1 + 1).result()
        2
    """

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(max_workers=_MOST_THREADS, thread_name_prefix="guardrail")
        self._lock = threading.Lock()
        self._waiting: deque[tuple[Future[Any], Callable[[], Any]]] = deque()
        self._returning: deque[threading.Event] = deque()
        self._taken = False
        self._owner: int | None = None

    def submit(self, work: Callable[[], T]) -> Future[T]:
        """Queue a piece of work. A future that is cancelled before its turn never runs."""
        future: Future[T] = Future()
        with self._lock:
            self._waiting.append((future, work))
            begin, self._taken = not self._taken, True
        if begin:
            self._threads.submit(self._serve)
        return future

    @contextmanager
    def yield_turn(self) -> Iterator[None]:
        """Give the turn away for a while; without effect in a thread that has none."""
        if self._owner != threading.get_ident():
            yield
            return
        with self._lock:
            self._owner, self._taken = None, bool(self._waiting or self._returning)
            more = self._taken
        if more:
            self._threads.submit(self._serve)
        try:
            yield
        finally:
            self._return()

    def _return(self) -> None:
        with self._lock:
            mine = threading.Event()
            if self._taken:
                self._returning.append(mine)
            else:
                self._taken = True
                mine.set()
        mine.wait()
        self._owner = threading.get_ident()

    def _serve(self) -> None:
        """Run what waits, as long as there is some. Who takes its turn back goes first, and takes over."""
        while True:
            with self._lock:
                self._owner = None
                if self._returning:
                    self._returning.popleft().set()
                    return
                if not self._waiting:
                    self._taken = False
                    return
                future, work = self._waiting.popleft()
                self._owner = threading.get_ident()
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(work())
                except BaseException as error:
                    future.set_exception(error)
