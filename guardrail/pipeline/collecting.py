"""A mode in which every guard holds nothing back and shows what it saw to whoever collects it: how a chain is calibrated.

    collector = Collector(keep)
    with collecting_in(collector):
        chain.invoke("Who wrote Faust?")
    collector.taken()

It holds for all that runs in this context and in copies of it, as LangChain makes for its threads and tasks. A guard that is
built in it needs no calibrator, and reads none.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING

from guardrail.calibration.contexts import Setting
from guardrail.types import Confidence, Decision

if TYPE_CHECKING:
    from guardrail.model.local import LocalModel
    from guardrail.model.recording import Keep
    from guardrail.pipeline.room import Room
    from guardrail.types import Message, Trace

_WHY = "a chain is being calibrated: its answers are shown as they are"

UNJUDGED = Confidence.none(_WHY)

SHOWN = Decision("answer", "being calibrated", _WHY)


@dataclass(frozen=True, slots=True)
class Seen:
    """An answer that a guard saw. messages: without passages of the guard's own. limit: the most tokens that it could have."""

    messages: tuple[Message, ...]
    trace: Trace
    setting: Setting
    limit: int


class Collector:
    """What the guards of a chain see. keep: what their generation keeps for whoever reads the traces.

    Attributes:
        model: The one that answers; None until it has.
        conflict: Why no calibrator can be made of what was seen; empty where one can.
    """

    def __init__(self, keep: Callable[[LocalModel], Keep]) -> None:
        self.keep = keep
        self.model: LocalModel | None = None
        self.conflict = ""
        self._seen: list[Seen] = []
        self._lock = threading.Lock()

    def take(self, room: Room, messages: tuple[Message, ...], setting: Setting | None, trace: Trace) -> None:
        """Note an answer of the model that the room is of."""
        with self._lock:
            self.model = self.model or room.model
            if self.model.identity != room.model.identity:
                self.conflict = (
                    f"the chain asks two guarded models, {self.model.name} and {room.model.name}, and a calibrator is for one: "
                    "take the guard away from one of them"
                )
            self._seen.append(Seen(messages, trace, setting or Setting(), room.answer))

    def taken(self) -> list[Seen]:
        """What was seen since the last call, oldest first."""
        with self._lock:
            seen, self._seen = self._seen, []
        return seen


_collector: ContextVar[Collector | None] = ContextVar("guardrail_collector", default=None)


def collecting() -> Collector | None:
    """Who collects here; None where guards do their work."""
    return _collector.get()


@contextmanager
def collecting_in(collector: Collector) -> Iterator[None]:
    """Show the collector what the guards see that are asked inside."""
    token = _collector.set(collector)
    try:
        yield
    finally:
        _collector.reset(token)
