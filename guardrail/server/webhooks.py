"""Verdicts -> whoever asked to be told: signed, tried again with growing pauses, never in the way of an answer.

Knows nothing about verdicts: a body is bytes. Where they may go is `destinations`' matter.
"""

from __future__ import annotations

import hashlib
import heapq
import hmac
import itertools
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from guardrail.errors import DataError
from guardrail.server.destinations import Destination, Destinations
from guardrail.server.log import LOG, log_line

SIGNATURE = "X-Guardrail-Signature"
"""`t=UNIX_SECONDS,v1=HEX`: HMAC-SHA256 of `t`, a dot and the body."""
DELIVERY = "X-Guardrail-Delivery"
"""The verdict's id, the same at every try."""

PAUSES = (1.0, 5.0, 25.0, 125.0, 625.0)
"""Seconds before each further try; up to a quarter more, so that many do not come at once."""
LEAST_SECRET = 16
_MAY_PASS = (408, 425, 429)  # of 4xx; another try at any other is in vain


def sign(secret: bytes, body: bytes, at: int) -> str:
    """The value of `SIGNATURE`. at: Unix time in seconds; part of what is signed, so that an old body cannot be sent again."""
    told = hmac.new(secret, str(at).encode() + b"." + body, hashlib.sha256).hexdigest()
    return f"t={at},v1={told}"


def _untold(outcome: str) -> None:
    pass


@dataclass(frozen=True, slots=True)
class _Letter:
    destination: Destination
    id: str
    body: bytes
    tries: int = 0


class Webhooks:
    """Delivers bodies in threads of its own.

    Args:
        destinations: Where they may go.
        secret: What they are signed with; at least 16 bytes.
        most: How many may wait; more are refused, and counted.
        workers: How many are sent at a time.
        timeout: Seconds for a try.
        pauses: As `PAUSES`.
        clock: Unix time in seconds.

    Attributes:
        counts: "delivered", "tried again", "given up" and "refused" -> how many.
        on_outcome: Told each of them, from any thread.

    Raises:
        DataError: The secret is too short.
    """

    def __init__(
        self,
        destinations: Destinations,
        secret: bytes,
        *,
        most: int = 1_000,
        workers: int = 4,
        timeout: float = 10.0,
        pauses: Sequence[float] = PAUSES,
        clock: Callable[[], float] = time.time,
    ) -> None:
        if len(secret) < LEAST_SECRET:
            raise DataError(
                f"the webhooks' secret has {len(secret)} bytes; give at least {LEAST_SECRET}: openssl rand -hex 32"
            )
        self.destinations = destinations
        self.counts: Counter[str] = Counter()
        self.on_outcome: Callable[[str], object] = _untold
        self._secret, self._most, self._timeout, self._pauses, self._clock = secret, most, timeout, pauses, clock
        self._waiting: list[tuple[float, int, _Letter]] = []  # a heap by when they are due
        self._number = itertools.count()
        self._changed, self._sending, self._closing = threading.Condition(), 0, False
        self._threads = [threading.Thread(target=self._work, name="webhook", daemon=True) for _ in range(workers)]
        for thread in self._threads:
            thread.start()

    def send(self, destination: Destination, delivery: str, body: bytes) -> bool:
        """Put it in line. False where too many wait: it is not sent, and the log says so."""
        with self._changed:
            if self._closing or len(self._waiting) + self._sending >= self._most:
                self.counts["refused"] += 1
                waiting = len(self._waiting) + self._sending
                LOG.warning(log_line(webhook="refused", verdict=delivery, waiting=waiting))
                self.on_outcome("refused")
                return False
            self._put(_Letter(destination, delivery, body), 0.0)
            return True

    def close(self, timeout: float = 10.0) -> int:
        """Send what is due within the timeout; the rest is dropped. Returns how many were dropped, which the log says, too."""
        end = time.monotonic() + timeout
        with self._changed:
            self._closing = True
            self._changed.notify_all()
            while (self._waiting or self._sending) and (left := end - time.monotonic()) > 0:
                self._changed.wait(left)
            dropped = len(self._waiting) + self._sending
            self._waiting.clear()
            self._changed.notify_all()
        if dropped:
            LOG.warning(log_line(webhook="not delivered before the end", number=dropped))
        return dropped

    def _put(self, letter: _Letter, pause: float) -> None:
        heapq.heappush(self._waiting, (time.monotonic() + pause, next(self._number), letter))
        self._changed.notify_all()

    def _work(self) -> None:
        while (letter := self._next()) is not None:
            outcome = self._tried(letter)
            with self._changed:
                self._sending -= 1
                if outcome == "tried again" and letter.tries < len(self._pauses):
                    pause = self._pauses[letter.tries] * random.uniform(1, 1.25)  # noqa: S311, no secret
                    self._put(_Letter(letter.destination, letter.id, letter.body, letter.tries + 1), pause)
                elif outcome == "tried again":
                    outcome = "given up"
                self.counts[outcome] += 1
                self._changed.notify_all()
            self.on_outcome(outcome)
            if outcome == "given up":
                LOG.warning(log_line(webhook=outcome, verdict=letter.id, tries=letter.tries + 1))

    def _next(self) -> _Letter | None:
        """The next one that is due, waited for; None at the end."""
        with self._changed:
            while True:
                if self._waiting and (wait := self._waiting[0][0] - time.monotonic()) <= 0:
                    self._sending += 1
                    return heapq.heappop(self._waiting)[2]
                if self._closing and not self._waiting and not self._sending:
                    return None
                self._changed.wait(wait if self._waiting else None)

    def _tried(self, letter: _Letter) -> str:
        """What a try came to, by the words of `counts`."""
        headers = {SIGNATURE: sign(self._secret, letter.body, int(self._clock())), DELIVERY: letter.id}
        try:
            status = self.destinations.post(letter.destination, letter.body, headers, timeout=self._timeout)
        except Exception as error:  # a thread that ends would end all deliveries
            LOG.info(log_line(webhook="no reply", verdict=letter.id, error=type(error).__name__))
            return "tried again"
        if 200 <= status < 300:
            return "delivered"
        LOG.info(log_line(webhook="refused there", verdict=letter.id, status=status))
        return "tried again" if status >= 500 or status in _MAY_PASS else "given up"
