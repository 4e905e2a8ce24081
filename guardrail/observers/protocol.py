"""What a Guard tells those who watch it: one `Observation` an answer, after its verdict. Knows nothing about who watches.

Watching is one-way: an observer gets frozen values and hands nothing back. It runs in the thread that asked, before the
verdict is returned; what it raises goes to the caller once all observers were told of all verdicts, in place of the verdicts:
an answer that could not be logged, say, is not given out. An observer that must not disturb answers catches its own errors, as
`Telemetry` does. Where claims or tokens stream, those that have left stay out, and the error ends the stream.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from guardrail.calibration.provenance import Unit
from guardrail.types import Message, Verdict


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage of the flow as it ran: `generate`, `score`, `calibrate`, `decide`, `retrieve` or `render`.

    began, ended: seconds of `time.perf_counter`. rows: how many conversations shared it (a batch runs as one). unit: whether
    it worked on the answer or on its claims, which also have the stages `claims`, `score claims` and `verify`.
    """

    name: str
    began: float
    ended: float
    rows: int = 1
    unit: Unit = "answer"


@dataclass(frozen=True, slots=True)
class Observation:
    """The conversation as it was first asked, the verdict on it, and the stages in the order in which they ran.

    The n-th `decide` stage of unit "answer" belongs to the verdict's n-th attempt.
    """

    messages: tuple[Message, ...]
    verdict: Verdict
    stages: tuple[Stage, ...]


Observer = Callable[[Observation], None]
"""Anything that is called with an `Observation`; threads that share a Guard call it at the same time."""


def tell(observers: Sequence[Observer], observations: Iterable[Observation]) -> None:
    """Tell every observer of every observation; what the first of them raised is raised when all were told."""
    raised: list[Exception] = []
    for each in observations:
        for observer in observers:
            try:
                observer(each)
            except Exception as error:
                raised.append(error)
    if raised:
        raise raised[0]
