"""A mode in which every guard holds nothing back and shows what it saw to whoever collects it: how a chain is calibrated.

    collector = Collector(keep)
    with collecting_in(collector):
        chain.invoke("Who wrote Faust?")
    collector.taken()

It holds for all that runs in this context and in copies of it, as LangChain makes for its threads and tasks. A guard that is
built in it needs no calibrator, and reads none but that of questions: a policy's `ask_first` searches then as ever.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING

from guardrail.calibration.contexts import Setting
from guardrail.types import Confidence, Decision, Score

if TYPE_CHECKING:
    from guardrail.model.local import LocalModel
    from guardrail.model.recording import Keep
    from guardrail.types import Evidence, Message, Trace

_WHY = "a chain is being calibrated: its answers are shown as they are"

AS_IT_IS = (Confidence.none(_WHY), Decision("answer", "being calibrated", _WHY))
"""What is said and done of an answer that is collected."""


def unread(trace: Trace) -> Score:
    """The Score of an answer that is collected: whoever collects reads it, and once is enough."""
    return Score.none("calibrating", _WHY, length=len(trace.response_ids))


@dataclass(frozen=True, slots=True)
class Seen:
    """An answer that a guard saw. messages: without the passages. limit: the most tokens that it could have."""

    messages: tuple[Message, ...]
    evidence: tuple[Evidence, ...]
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

    def take(self, model: LocalModel, seen: Seen) -> None:
        """Note an answer of a model."""
        with self._lock:
            self.model = self.model or model
            if self.model.identity != model.identity:
                self.conflict = (
                    f"the chain asks two guarded models, {self.model.name} and {model.name}, and a calibrator is for one: "
                    "take the guard away from one of them"
                )
            self._seen.append(seen)

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
