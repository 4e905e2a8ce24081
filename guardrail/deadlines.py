"""By when a call has to be done, and the lock that keeps to it.

A deadline holds for everything that is done `before` it, however deep, in this thread and in those that are handed its context.
Who may wait or compute for long asks `check_deadline`, or waits no longer than `sooner` says.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
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

    First come, first served: who lets go of it and takes it again at once stands behind those who wait, so that neither
    decoding steps nor scoring passes starve.

    >>> with Lock():
    ...     pass

    Attributes:
        pauses: Makes what is entered, too, while somebody has it, such as the pause of a loop that takes no lock; None for
            nothing. Set it while holding the lock.
    """

    def __init__(self) -> None:
        self._own = threading.Lock()  # around what follows, for moments
        self._owner: int | None = None
        self._depth = 0
        self._waiting: deque[tuple[int, threading.Event]] = deque()
        self.pauses: Callable[[], AbstractContextManager[None]] | None = None
        self._pause = ExitStack()

    @property
    def held(self) -> bool:
        """Whether this thread has it."""
        return self._owner == threading.get_ident()

    def __enter__(self) -> None:
        self._take()
        if self.pauses is not None and self._depth == 1:
            try:
                self._pause.enter_context(self.pauses())
            except BaseException:
                self._let_go()
                raise

    def __exit__(self, *_: object) -> None:
        try:
            if self._depth == 1:
                self._pause.close()
        finally:
            self._let_go()

    def _take(self) -> None:
        check_deadline()
        me = threading.get_ident()
        turn = threading.Event()
        with self._own:
            if self._owner in (None, me):  # whoever lets go hands it on, so nobody waits for one that is free
                self._owner, self._depth = me, self._depth + 1
                return
            self._waiting.append((me, turn))
        try:
            deadline = _deadline.get()
            if not turn.wait(None if deadline is None else min(deadline.left, threading.TIMEOUT_MAX)):
                assert deadline is not None  # noqa: S101  (without one it waits for ever)
                raise deadline.missed()
        except BaseException:
            with self._own:
                if turn.is_set():  # it came meanwhile
                    self._hand_on()
                else:
                    self._waiting.remove((me, turn))
            raise

    def _let_go(self) -> None:
        with self._own:
            self._depth -= 1
            if not self._depth:
                self._hand_on()

    def _hand_on(self) -> None:
        self._owner, self._depth = None, 0
        if self._waiting:
            self._owner, turn = self._waiting.popleft()
            self._depth = 1
            turn.set()
