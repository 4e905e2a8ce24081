"""Waiting, with a limit, for work that may never end; and how long work took, whatever the clock does meanwhile.

A deadline holds for everything that is done `before` it, however deep, in this thread and in those that `within` starts. Who
may wait or compute for long asks `check_deadline`.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from contextvars import Context, ContextVar, copy_context
from dataclasses import dataclass
from numbers import Real
from typing import TypeVar

from guardrail.errors import DeadlineError, GuardrailError, ModelError

T = TypeVar("T")


class OverdueError(GuardrailError):
    """Work was not done in time."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"did not answer within {seconds:g} s")


@dataclass(frozen=True, slots=True)
class Deadline:
    """A moment by which a call has to be done.

    Attributes:
        at: In seconds of `time.monotonic`, which no change of the clock moves.
        seconds: How long there was until then.
    """

    at: float
    seconds: float

    @classmethod
    def after(cls, seconds: float | None) -> Deadline | None:
        """So many seconds from now; None for None. Raises `ModelError` for what is no positive number of seconds."""
        if (seconds := check_timeout(seconds)) is None:
            return None
        return cls(time.monotonic() + seconds, seconds)

    @property
    def left(self) -> float:
        """The seconds that are left, never negative."""
        return max(0.0, self.at - time.monotonic())

    def check(self) -> None:
        """Raise `DeadlineError` once it has passed."""
        if not self.left:
            raise self.missed()

    def missed(self) -> DeadlineError:
        """The error of a call that is not done."""
        return DeadlineError(
            f"there was no verdict within the timeout of {self.seconds:g} s, so nothing is answered; allow more time, or fewer "
            "tokens for the answer"
        )


def check_timeout(seconds: object) -> float | None:
    """A timeout as a float, None for none. Raises `ModelError` for what is no positive, finite number of seconds."""
    if seconds is None:
        return None
    if isinstance(seconds, bool) or not isinstance(seconds, Real) or not 0 < float(seconds) < math.inf:
        raise ModelError(
            f"timeout is {seconds!r:.40}; it is the number of seconds that a call may take, above 0, or None for no limit"
        )
    return float(seconds)


_deadline: ContextVar[Deadline | None] = ContextVar("guardrail_deadline", default=None)


@contextmanager
def before(deadline: Deadline | None) -> Iterator[None]:
    """The block has to be done by the deadline, and by that of the block around it; None adds none.

    Raises `DeadlineError` where it has passed before the block, and inside at each check.
    """
    around = _deadline.get()
    if deadline is None or (around is not None and around.at <= deadline.at):
        yield
        return
    deadline.check()
    token = _deadline.set(deadline)
    try:
        yield
    finally:
        _deadline.reset(token)


def deadline_now() -> Deadline | None:
    """The deadline of what runs now, if it has one."""
    return _deadline.get()


def check_deadline() -> None:
    """Raise `DeadlineError` if what runs now has a deadline that has passed."""
    if (deadline := _deadline.get()) is not None:
        deadline.check()


def bare_context() -> Context:
    """A context with nothing in it but the deadline."""
    context, deadline = Context(), _deadline.get()
    if deadline is not None:
        context.run(_deadline.set, deadline)
    return context


class Lock:
    """A lock that one thread may take several times. One that has a deadline waits for it until then, and no longer.

    >>> with Lock():
    ...     pass
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()

    def __enter__(self) -> None:
        check_deadline()
        deadline = _deadline.get()
        seconds = -1 if deadline is None else min(deadline.left, threading.TIMEOUT_MAX)
        if not self._lock.acquire(timeout=seconds):
            assert deadline is not None  # noqa: S101  (without one it waits for ever)
            raise deadline.missed()

    def __exit__(self, *_: object) -> None:
        self._lock.release()


def seconds_since(began: float) -> float:
    """Seconds since a reading of `time.perf_counter`; never negative, not even where the clock was set back (a machine that
    slept or moved).
    """
    return max(0.0, time.perf_counter() - began)


def rate(done: int, began: float) -> float:
    """How many a second since a reading of `time.perf_counter`; 0 where no time has passed."""
    return done / seconds if (seconds := seconds_since(began)) else 0.0


def within(seconds: float | None, work: Callable[[], T]) -> T:
    """The result of `work`, or what it raises, waited for no longer than `seconds`, nor than the deadline of what runs now.

    Python cannot end a thread: work that does not return is left behind, in a thread that does not keep the process from
    ending. It sees the caller's context variables.

    Args:
        seconds: None is no limit; without a deadline the work then runs here.
        work: What may take long.

    Raises:
        OverdueError: It was not done in time.
        DeadlineError: It was not done by the deadline of what runs now.
    """
    deadline = _deadline.get()
    if seconds is None and deadline is None:
        return work()
    limit, left = math.inf if seconds is None else seconds, math.inf if deadline is None else deadline.left
    future: Future[T] = Future()
    ended = threading.Event()
    context = copy_context()

    def run() -> None:
        try:
            future.set_result(context.run(work))
        except BaseException as error:  # whatever it is, the caller raises it
            future.set_exception(error)
        ended.set()

    threading.Thread(target=run, name="guardrail-limited", daemon=True).start()
    if not ended.wait(min(limit, left, threading.TIMEOUT_MAX)):
        raise deadline.missed() if deadline is not None and left <= limit else OverdueError(limit)
    return future.result()
