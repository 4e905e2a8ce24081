"""By when a call has to be done, and the lock that keeps to it.

A deadline holds for everything that is done `before` it, however deep, in this thread and in those that are handed its context.
Who may wait or compute for long asks `check_deadline`, or waits no longer than `sooner` says.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import Context, ContextVar
from dataclasses import dataclass
from numbers import Real

from guardrail.errors import DeadlineError, ModelError


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


def sooner(seconds: float | None) -> float | None:
    """The shorter of a limit in seconds, None for none, and what is left until the deadline of what runs now.

    Raises `DeadlineError` where nothing is left.
    """
    check_deadline()
    if (deadline := _deadline.get()) is None:
        return seconds
    return min(deadline.left, threading.TIMEOUT_MAX if seconds is None else seconds)


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
