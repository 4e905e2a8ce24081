"""Verdicts that come after their answers (`"mode": "observe"`): kept for a while, asked for by id, told to a webhook.

Bounded in number, bytes and time; the oldest go first. An id is 128 random bits, and only the key that asked may read it.
"""

from __future__ import annotations

import json
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from guardrail.errors import DataError
from guardrail.server.destinations import Destination
from guardrail.server.webhooks import Webhooks

State = Literal["pending", "done", "failed"]
OBJECT = "guardrail.verdict"


class Kept(NamedTuple):
    """How far a verdict is, and its JSON."""

    state: State
    body: bytes


@dataclass(slots=True)
class _Entry:
    owner: str | None
    until: float
    destination: Destination | None
    state: State
    body: bytes


class LateVerdicts:
    """The verdicts of answers that did not wait for them.

        late = LateVerdicts(webhooks=None)
        verdict_id = late.expect(owner="ann")
        late.read(verdict_id, owner="ann").state        # "pending"
        late.deliver(verdict_id, {"version": 1, "action": "hedge", "enforced": False, ...})
        late.read(verdict_id, owner="ann").body         # of GET /v1/guard/verdicts/ID; `read` gives None: 404

    Args:
        webhooks: None refuses every URL.
        most: How many are kept.
        most_bytes: How many bytes of JSON all of them may have.
        seconds: How long each is kept, from its answer on.
        clock: Seconds that only grow.
    """

    def __init__(
        self,
        *,
        webhooks: Webhooks | None = None,
        most: int = 10_000,
        most_bytes: int = 64 * 2**20,
        seconds: float = 3_600.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.webhooks = webhooks
        self._most, self._most_bytes, self._seconds, self._clock = most, most_bytes, seconds, clock
        self._entries: OrderedDict[str, _Entry] = OrderedDict()  # by age, so the first ones expire first
        self._bytes, self._lock = 0, threading.Lock()

    def __len__(self) -> int:
        with self._lock:
            self._trim()
            return len(self._entries)

    def destination(self, webhook: str | None) -> Destination | None:
        """Where a URL leads; None for none. Raises `DataError` for what is no URL, or one that the operator did not list."""
        if webhook is None:
            return None
        if self.webhooks is None:
            raise DataError("this server sends no webhooks; leave `webhook` out and ask for the verdict by its id")
        return self.webhooks.destinations.read(webhook)

    def expect(self, *, owner: str | None, to: Destination | None = None) -> str:
        """A verdict will come.

        Args:
            owner: The name of the key that asked; None where there are no keys.
            to: Whom to tell, from `destination`.

        Returns:
            Its id.
        """
        verdict_id = f"verdict-{secrets.token_hex(16)}"
        body = json.dumps(pending(verdict_id)).encode()
        with self._lock:
            self._entries[verdict_id] = _Entry(owner, self._clock() + self._seconds, to, "pending", body)
            self._bytes += len(body)
            self._trim()
        return verdict_id

    def deliver(self, verdict_id: str, verdict: Mapping[str, Any]) -> None:
        """The verdict is there: keep it, and tell the webhook.

        Args:
            verdict_id: From `expect`.
            verdict: The contract of the metadata. It has to say `enforced: false`, since its text was out before.

        Raises:
            DataError: It says that its text is what the policy made of it.
        """
        if verdict.get("enforced") is not False:
            raise DataError("a late verdict came after its text, so its `enforced` is false; this one says otherwise")
        self._settle(verdict_id, "done", {"guardrail": dict(verdict)})

    def fail(self, verdict_id: str, error: Mapping[str, Any]) -> None:
        """There will be no verdict. error: the object of an error's body; nothing of a model's text is in it."""
        self._settle(verdict_id, "failed", {"error": dict(error)})

    def read(self, verdict_id: str, *, owner: str | None) -> Kept | None:
        """What is kept under an id; None where there is none, where it has expired, and where it is somebody else's."""
        with self._lock:
            self._trim()
            entry = self._entries.get(verdict_id)
            return Kept(entry.state, entry.body) if entry is not None and entry.owner == owner else None

    def close(self, timeout: float = 10.0) -> None:
        """Send the webhooks that are due within the timeout, in seconds; the log says how many were not."""
        if self.webhooks is not None:
            self.webhooks.close(timeout)

    def _settle(self, verdict_id: str, state: State, found: Mapping[str, Any]) -> None:
        body = json.dumps({**pending(verdict_id), "status": state, **found}, allow_nan=False).encode()
        with self._lock:
            entry = self._entries.get(verdict_id)
            if entry is None or entry.state != "pending":
                return  # it has expired, or was told already: nobody is told twice
            self._bytes += len(body) - len(entry.body)
            entry.state, entry.body = state, body
            self._trim()
        if entry.destination is not None and self.webhooks is not None:
            self.webhooks.send(entry.destination, verdict_id, body)

    def _trim(self) -> None:
        now = self._clock()
        while self._entries:
            oldest = next(iter(self._entries.values()))
            if oldest.until > now and len(self._entries) <= self._most and self._bytes <= self._most_bytes:
                return
            self._bytes -= len(self._entries.popitem(last=False)[1].body)


def pending(verdict_id: str) -> dict[str, Any]:
    """What stands beside an answer in the place of its verdict: nothing was enforced on it, and it has no confidence."""
    return {"id": verdict_id, "object": OBJECT, "status": "pending", "enforced": False}
