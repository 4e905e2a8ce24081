"""One conversation on its way through a Guard: a frozen value, and a stopwatch that goes with it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace

from guardrail.calibration.provenance import Provenance, Unit
from guardrail.errors import DataError, ModelError
from guardrail.messages import as_messages, before_answer, check_text, unmarked
from guardrail.observers.protocol import Stage
from guardrail.pipeline.calibrated import Calibrated
from guardrail.retrieval import query_of, with_evidence
from guardrail.types import Attempt, Confidence, Decision, Evidence, Message, Score, Tool, Trace
from guardrail.waiting import seconds_since

Prompt = str | Sequence[Message]
"""A question as a string, which goes into the calibration's prompt, or messages, which are used as they are."""

SearchContext = Callable[[], AbstractContextManager[object]]
"""Makes a context in which the evidence for one conversation is searched, for whoever traces that or works meanwhile."""


class Stopwatch:
    """Wall time by stage, in milliseconds, and the stages in the order in which they ran."""

    def __init__(self) -> None:
        self.timing_ms: dict[str, float] = {}
        self.stages: list[Stage] = []

    def book(self, stage: str, began: float, rows: int = 1, unit: Unit = "answer") -> None:
        """Book the time since `began` (seconds of `perf_counter`), divided among `rows` conversations."""
        ended = began + seconds_since(began)
        self.timing_ms[stage] = self.timing_ms.get(stage, 0.0) + (ended - began) * 1000 / rows
        self.stages.append(Stage(stage, began, ended, rows, unit))

    def lap(self, unit: Unit) -> Callable[[str], None]:
        """A function that books the time since its last call under the stage's name that it is called with."""
        began = time.perf_counter()

        def book(stage: str) -> None:
            nonlocal began
            self.book(stage, began, unit=unit)
            began = time.perf_counter()

        return book


@dataclass(frozen=True, slots=True)
class Conversation:
    """What is asked, and what has come of it so far.

    extrapolation_reasons, claim_extrapolation_reasons: how its prompt or its decoding differs from the answers' and from the
    claims' calibration. evidence: the passages that go into the prompt. attempts: the passes so far, oldest first.
    """

    messages: tuple[Message, ...]
    query: str
    extrapolation_reasons: tuple[str, ...] = ()
    claim_extrapolation_reasons: tuple[str, ...] = ()
    evidence: tuple[Evidence, ...] = ()
    attempts: tuple[Attempt, ...] = ()
    search_context: SearchContext = nullcontext
    stopwatch: Stopwatch = field(default_factory=Stopwatch, compare=False, repr=False)

    @property
    def prompt(self) -> tuple[Message, ...]:
        """The messages with the evidence in them."""
        return with_evidence(self.messages, self.evidence)

    @property
    def retrieved_by(self) -> tuple[str, ...]:
        """The policy's rules that have looked something up for it."""
        return tuple(a.decision.rule for a in self.attempts if a.decision.action == "retrieve")

    def tried(self, trace: Trace, score: Score, confidence: Confidence, decision: Decision) -> Conversation:
        """This conversation after one more pass. The trace's states are dropped: they are as large as the model's cache."""
        kept = replace(trace, state=None)
        attempt = Attempt(trace.text, score, confidence, decision, trace.finish_reason, self.evidence, kept)
        return replace(self, attempts=(*self.attempts, attempt))


@contextmanager
def timed(stage: str, *conversations: Conversation) -> Iterator[None]:
    """Book the time that the block takes, divided evenly among the conversations."""
    began = time.perf_counter()
    yield
    for conversation in conversations:
        conversation.stopwatch.book(stage, began, len(conversations))


def opened(
    asked: Prompt,
    system: str | None,
    *,
    prompts: Provenance | None,
    answers: Provenance | None,
    decoding: Sequence[str] = (),
    answer: str | None = None,
    search_context: SearchContext = nullcontext,
) -> Conversation:
    """The conversation that a question or messages begin.

    prompts: the calibration whose prompt a question goes into. answers: the calibration of whole answers. decoding: how
    generation differs from the calibrations. answer: where there is one already; messages that end in it end before it.
    """
    if system is not None:
        system = unmarked(check_text(system, "a system message"))
    if answer is not None:
        check_text(answer, "an answer")
    if not isinstance(asked, str):
        messages = as_messages(asked, system)
        messages = messages if answer is None else before_answer(messages, answer) or messages
        has_question = any(m["role"] == "user" for m in messages)  # without one there is nothing to retrieve for
        reasons = ("messages of your own, not the prompt of the calibration", *decoding)
        return Conversation(
            messages, query_of(messages) if has_question else "", reasons, reasons, search_context=search_context
        )
    asked = unmarked(asked)
    question = prompts.prompt.replace("{question}", asked) if prompts else asked
    usual = prompts.system if prompts else None
    shared = ("another system message than in calibration",) if system not in (None, usual) else ()
    differ = prompts and answers and (prompts.prompt, prompts.system) != (answers.prompt, answers.system)
    of_answers = ("the prompt of the claims' calibration",) if differ else ()
    return Conversation(
        as_messages(question, system or usual),
        asked,
        (*shared, *of_answers, *decoding),
        (*shared, *decoding),
        search_context=search_context,
    )


def check_batch(conversations: object, batch_size: object) -> None:
    """Raise `DataError` for what is no list, and `ModelError` for a batch size that is no whole number from 1."""
    if isinstance(conversations, str | bytes) or not isinstance(conversations, Sequence):
        raise DataError(f"a batch is a list of questions or conversations, not {conversations!r:.80}")
    if isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1:
        raise ModelError(f"the batch size is {batch_size!r:.80}; it must be at least 1, a whole number")


def decoding_differs(calibrated: Calibrated, temperature: float, tools: Sequence[Tool]) -> list[str]:
    """How the decoding differs from the calibration's."""
    usual = calibrated.usual("temperature") or 0.0
    sampled = [f"temperature {temperature:g}, not the {usual:g} of the calibration"] if temperature != usual else []
    return sampled + (["tools in the prompt"] if tools else [])


def length_differs(trace: Trace, usual: int | None) -> str:
    """How the answer's end differs from those of the calibration, whose limit was `usual` tokens; empty if it does not."""
    length = len(trace.response_ids)
    if trace.stop_string:
        return "ended by a stop string"
    if usual is None or (length <= usual and (length == usual or trace.finish_reason != "length")):
        return ""
    return f"{'cut at ' if trace.finish_reason == 'length' else ''}{length} tokens, the calibration's limit was {usual}"
