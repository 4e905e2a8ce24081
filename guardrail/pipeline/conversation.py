"""One conversation on its way through the passes of a Guard. Knows nothing about what a pass does."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace

from guardrail.observers.protocol import Stage
from guardrail.types import Aside, Attempt, Claim, Confidence, Decision, Evidence, JudgedClaim, Message, Score, Trace

PassOn = Callable[[Trace], bool]
"""Whether a response goes to the caller as it is, unscored; for turns that call tools, which are no answers."""

Searching = Callable[[], AbstractContextManager[object]]
"""Makes a context in which the evidence for one conversation is searched, for whoever traces that or works meanwhile."""


@dataclass(slots=True)
class Case:
    """One conversation on its way through the passes; changed in place, unlike the values that it collects.

    unlike, unlike_claims: how its prompt or its decoding differs from the answers' and the claims' calibration; empty if it
    does not. text: the last pass's answer as its claims left it. known: claims that were judged while it was generated.
    """

    messages: tuple[Message, ...]
    query: str
    unlike: str = ""
    unlike_claims: str = ""
    text: str = ""
    claims: tuple[JudgedClaim, ...] = ()
    asides: tuple[Aside, ...] = ()
    known: dict[Claim, JudgedClaim] = field(default_factory=dict)
    evidence: tuple[Evidence, ...] = ()
    fired: list[str] = field(default_factory=list)
    attempts: list[Attempt] = field(default_factory=list)
    timing_ms: dict[str, float] = field(default_factory=dict)
    stages: list[Stage] = field(default_factory=list)
    again: bool = False
    searching: Searching = nullcontext

    def differs(self, *reasons: str) -> None:
        """Say how the case differs from what calibrators of both units were fitted on; empty reasons are none."""
        self.unlike = "; ".join(filter(None, [self.unlike, *reasons]))
        self.unlike_claims = "; ".join(filter(None, [self.unlike_claims, *reasons]))

    def attempt(self, trace: Trace, score: Score, confidence: Confidence, decision: Decision) -> None:
        """Record one pass. The trace goes without its states: those are as large as the model's cache."""
        kept = replace(trace, state=None) if trace.state is not None else trace
        self.attempts.append(Attempt(trace.text, score, confidence, decision, trace.finish_reason, self.evidence, kept))

    def pass_on(self, trace: Trace) -> None:
        """Record a pass that nobody judges: its caller said that it is no answer."""
        why = "the turn calls tools, which is no answer yet"
        self.again, self.text, self.claims, self.asides = False, trace.text, (), ()
        self.attempt(
            trace,
            Score.none("tool_call", why, length=len(trace.response_ids)),
            Confidence.none("unscored: tool_call"),
            Decision("answer", "tool call", f"{why}: passed on unscored"),
        )

    def spend(self, stage: str, began: float, rows: int = 1) -> None:
        """Book the wall time since `began` (seconds of `perf_counter`), divided among `rows` cases."""
        ended = time.perf_counter()
        self.timing_ms[stage] = self.timing_ms.get(stage, 0.0) + (ended - began) * 1000 / rows
        self.stages.append(Stage(stage, began, ended, rows))

    def clock(self) -> Callable[[str], None]:
        """Books the time since the last call under the stage's name that it is called with."""
        began = time.perf_counter()

        def book(stage: str) -> None:
            nonlocal began
            self.spend(stage, began)
            began = time.perf_counter()

        return book


def unlike_in_length(trace: Trace, usual: int | None) -> str:
    """How the answer's end differs from those of the calibration, whose limit was `usual` tokens; empty if it does not."""
    length = len(trace.response_ids)
    if trace.stop_string:
        return "ended by a stop string"
    if usual is None or (length <= usual and (length == usual or trace.finish_reason != "length")):
        return ""
    return f"{'cut at ' if trace.finish_reason == 'length' else ''}{length} tokens, the calibration's limit was {usual}"


def share(cases: Sequence[Case], stage: str, began: float) -> None:
    """A batch's time, divided evenly among its cases."""
    for case in cases:
        case.spend(stage, began, len(cases))
