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
from typing import Any, Literal

from guardrail.errors import DataError
from guardrail.server.destinations import Destination
from guardrail.server.webhooks import Webhooks

State = Literal["pending", "done", "failed"]
OBJECT = "guardrail.verdict"


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
        late.deliver(verdict_id, {"version": 1, "action": "hedge", "enforced": False, ...})
        late.read(verdict_id, owner="ann")      # the body of GET /v1/guard/verdicts/ID; None: 404

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

    def expect(self, *, owner: str | None, webhook: str | None = None) -> str:
        """A verdict will come.

        Args:
            owner: The name of the key that asked; None where there are no keys.
            webhook: Whom to tell.

        Returns:
            Its id.

        Raises:
            DataError: The webhook is no URL, or one that the operator did not list.
        """
        destination = None
        if webhook is not None:
            if self.webhooks is None:
                raise DataError("this server sends no webhooks; leave `webhook` out and ask for the verdict by its id")
            destination = self.webhooks.destinations.read(webhook)
        verdict_id = f"verdict-{secrets.token_hex(16)}"
        body = _body(verdict_id, "pending", {})
        with self._lock:
            self._entries[verdict_id] = _Entry(owner, self._clock() + self._seconds, destination, "pending", body)
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

    def read(self, verdict_id: str, *, owner: str | None) -> bytes | None:
        """The JSON of a verdict; None where there is none, where it has expired, and where it is somebody else's."""
        with self._lock:
            self._trim()
            entry = self._entries.get(verdict_id)
            return entry.body if entry is not None and entry.owner == owner else None

    def _settle(self, verdict_id: str, state: State, found: Mapping[str, Any]) -> None:
        body = _body(verdict_id, state, found)
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


def _body(verdict_id: str, state: State, found: Mapping[str, Any]) -> bytes:
    return json.dumps({"id": verdict_id, "object": OBJECT, "status": state, **found}, allow_nan=False).encode()
