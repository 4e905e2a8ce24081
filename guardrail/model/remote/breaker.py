"""A circuit breaker: who has failed several times in a row is left alone for a while."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


class Breaker:
    """Opens after so many failures in a row; after `rest` seconds one call may try, and closes it or opens it again.

    failures: in a row. rest: seconds. clock: gives seconds, for tests.

        breaker.blocked()        # None, or the seconds until a call may try
        breaker.note(ok=False)   # after each call that was let through
    """

    def __init__(self, failures: int = 5, rest: float = 30.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._most, self._rest, self._clock = failures, rest, clock
        self._lock = threading.Lock()
        self._failed = 0
        self._until: float | None = None

    def blocked(self) -> float | None:
        """The seconds until somebody may try again; None for a call that may. Of several that wait, one tries."""
        with self._lock:
            if self._until is None:
                return None
            left = self._until - self._clock()
            if left > 0:
                return left
            self._until = self._clock() + self._rest  # the others wait for what this one finds
            return None

    def note(self, *, ok: bool) -> None:
        """What a call came to."""
        with self._lock:
            if ok:
                self._failed, self._until = 0, None
                return
            self._failed += 1
            if self._failed >= self._most:
                self._until = self._clock() + self._rest
