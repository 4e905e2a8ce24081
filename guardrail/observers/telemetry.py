"""Verdicts -> OpenTelemetry: a span an answer, a child span a stage, an event, and three metrics. An observer of the Guard.

Needs `opentelemetry-api` (`pip install 'hybridgrad-guardrail[otel]'`). Every Guard has it where that package is installed;
until the application sets up an SDK, the API does nothing. Questions and answers are left out unless asked for.
Not covered: an answer that ends in an error has no verdict, and so no span of its own. Since nobody asked for it, it takes no
answer away: what fails in recording one (an exporter, a processor, an attribute) is a warning in the log of `guardrail`.

Span `guardrail.answer` or `guardrail.check`, kind INTERNAL, child of the current span. Attributes: `gen_ai.request.model`,
`gen_ai.response.finish_reasons`, and below `guardrail.`: action, actions, rule, label, policy, calibrator,
confidence.p_correct, confidence.low, confidence.high, confidence.in_range, confidence.basis, score.hybridgrad,
score.name and score.number (of another scorer), score.unscored, evidence.count.
Child spans `guardrail.generate`, `.score`, `.calibrate`, `.decide`, `.retrieve`, `.render` lie where the stages ran;
`guardrail.batch_size` says how many answers shared one.

Event `gen_ai.evaluation.result` (semantic conventions for generative AI; a log record of the answer's span), one for each
attempt: `gen_ai.evaluation.name` is "guardrail.confidence", `.score.value` the probability of being right, `.score.label` its
label; where there is none, `error.type` says why. `.explanation`, the decision's, comes with the content only.

| metric | kind, unit | attributes |
| --- | --- | --- |
| `guardrail.decisions` | counter, `{decision}` | action, label, policy, model |
| `guardrail.confidence` | histogram, `1`: the probability of being right | action, policy, model |
| `guardrail.score.duration` | histogram, `s`: scoring one answer; a batch's time divided by its rows | policy, model |
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from guardrail.errors import MissingExtraError
from guardrail.observers.protocol import Observation, Observer
from guardrail.scoring.registry import DEFAULT
from guardrail.types import Attempt, Message, Verdict

if TYPE_CHECKING:
    from opentelemetry._logs import LoggerProvider
    from opentelemetry.context import Context
    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import TracerProvider

CONTENT_VARIABLE = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"
"""The environment variable with which OpenTelemetry's GenAI instrumentations are told to record content: `true`."""

LOG = logging.getLogger("guardrail")

_SCOPE = "guardrail"
_PROBABILITIES = tuple(i / 20 for i in range(1, 20))
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Telemetry:
    """An observer that records verdicts as spans and metrics.

        >>> guard = Guard(model=local, policy="observe", observers=[Telemetry(content=True)])
        >>> len(guard.observers)  # in place of the one that every Guard has
        1

    content: record questions and answers, too (`gen_ai.input.messages`, `gen_ai.output.messages`: what was shown;
    `guardrail.answer`: what the model said, also where it was held back). None: as `CONTENT_VARIABLE` says; off without it.
    tracer_provider, meter_provider, logger_provider: None takes the global ones.

    Raises `MissingExtraError` without `opentelemetry-api`.
    """

    def __init__(
        self,
        *,
        content: bool | None = None,
        tracer_provider: TracerProvider | None = None,
        meter_provider: MeterProvider | None = None,
        logger_provider: LoggerProvider | None = None,
    ) -> None:
        try:
            from opentelemetry import _logs, metrics, trace
        except ImportError as error:
            raise MissingExtraError(
                "telemetry needs opentelemetry-api; run: pip install 'hybridgrad-guardrail[otel]'"
            ) from error
        self.content = os.environ.get(CONTENT_VARIABLE, "").lower() == "true" if content is None else content
        self._in_context = trace.set_span_in_context
        self._tracer = trace.get_tracer(_SCOPE, tracer_provider=tracer_provider)
        self._logger, self._record = _logs.get_logger(_SCOPE, logger_provider=logger_provider), _logs.LogRecord
        meter = metrics.get_meter(_SCOPE, meter_provider=meter_provider)
        self._decisions = meter.create_counter(
            "guardrail.decisions", unit="{decision}", description="Decisions by action and label."
        )
        self._confidence = meter.create_histogram(
            "guardrail.confidence",
            unit="1",
            description="Calibrated probability that an answer is right; higher = more certain.",
            explicit_bucket_boundaries_advisory=_PROBABILITIES,
        )
        self._score_duration = meter.create_histogram(
            "guardrail.score.duration",
            unit="s",
            description="Time to score one answer; a batch's time is divided by its rows.",
            explicit_bucket_boundaries_advisory=_SECONDS,
        )

    def __call__(self, observation: Observation) -> None:
        """Record one verdict; what fails is logged."""
        for record in (self._measure, self._trace):
            try:
                record(observation)
            except Exception as error:  # whoever wrote the exporter may raise anything
                LOG.warning("telemetry of one verdict is lost: %s: %s", type(error).__name__, error, exc_info=error)

    def _trace(self, observation: Observation) -> None:
        verdict, stages = observation.verdict, observation.stages
        offset = time.time_ns() - round(time.perf_counter() * 1e9)  # perf_counter -> Unix time
        given = verdict.attempts[0].finish_reason == "given"
        span = self._tracer.start_span(
            "guardrail.check" if given else "guardrail.answer", start_time=_at(stages[0].began, offset)
        )
        if span.is_recording():
            span.set_attributes(_attributes(verdict))
            if self.content:
                span.set_attributes(_content(observation.messages, verdict))
            inside, attempts = self._in_context(span), iter(verdict.attempts)
            for stage in stages:
                child = self._tracer.start_span(
                    f"guardrail.{stage.name}", context=inside, start_time=_at(stage.began, offset)
                )
                child.set_attribute("guardrail.batch_size", stage.rows)
                if stage.name == "decide" and stage.unit == "answer":
                    child.set_attributes(_attempt(next(attempts)))
                child.end(_at(stage.ended, offset))
        span.end(ended := _at(stages[-1].ended, offset))
        self._evaluate(verdict, ended, self._in_context(span))

    def _evaluate(self, verdict: Verdict, when: int, context: Context) -> None:
        for attempt in verdict.attempts:
            if attempt.score.unscored != "tool_call":
                self._logger.emit(
                    self._record(
                        timestamp=when,
                        observed_timestamp=when,
                        context=context,
                        event_name="gen_ai.evaluation.result",
                        attributes=_evaluation(attempt, self.content),
                    )
                )

    def _measure(self, observation: Observation) -> None:
        verdict = observation.verdict
        common = {"guardrail.policy": verdict.policy, "gen_ai.request.model": verdict.model}
        for attempt in verdict.attempts:
            if attempt.score.unscored == "tool_call":
                continue  # passed on without a decision
            action = {**common, "guardrail.action": attempt.decision.action}
            self._decisions.add(1, {**action, "guardrail.label": attempt.confidence.label or "none"})
            if attempt.confidence.p_correct is not None:
                self._confidence.record(attempt.confidence.p_correct, action)
        for stage in observation.stages:
            if stage.name == "score":
                self._score_duration.record((stage.ended - stage.began) / stage.rows, common)


def with_telemetry(observers: Iterable[Observer]) -> tuple[Observer, ...]:
    """The observers, and in front of them a `Telemetry` if none of them is one and OpenTelemetry is installed."""
    given = tuple(observers)
    if any(isinstance(observer, Telemetry) for observer in given):
        return given
    try:
        return (Telemetry(), *given)
    except MissingExtraError:
        return given


def _at(seconds: float, offset: int) -> int:
    """Unix time in nanoseconds of a `perf_counter` reading."""
    return offset + round(seconds * 1e9)


def _attempt(attempt: Attempt) -> dict[str, Any]:
    confidence, score = attempt.confidence, attempt.score
    found = {
        "guardrail.action": attempt.decision.action,
        "guardrail.rule": attempt.decision.rule,
        "guardrail.label": confidence.label,
        "guardrail.confidence.p_correct": confidence.p_correct,
        "guardrail.confidence.low": confidence.low,
        "guardrail.confidence.high": confidence.high,
        "guardrail.confidence.in_range": confidence.in_range,
        "guardrail.confidence.basis": confidence.basis,
        "guardrail.confidence.familiarity": confidence.familiarity,
        "guardrail.score.hybridgrad": score.hybridgrad,
        "guardrail.score.name": None if score.name == DEFAULT else score.name,
        "guardrail.score.number": None if score.name == DEFAULT else score.number,
        "guardrail.score.unscored": score.unscored,
        "guardrail.evidence.count": len(attempt.evidence),
        "gen_ai.response.finish_reasons": (attempt.finish_reason,),
    }
    return {name: value for name, value in found.items() if value is not None}  # None is no attribute value


def _evaluation(attempt: Attempt, content: bool) -> dict[str, Any]:
    confidence = attempt.confidence
    found = {
        "gen_ai.evaluation.name": "guardrail.confidence",
        "gen_ai.evaluation.score.value": confidence.p_correct,
        "gen_ai.evaluation.score.label": confidence.label,
        "gen_ai.evaluation.explanation": attempt.decision.explanation if content else None,
        "error.type": (attempt.score.unscored or "no_confidence") if confidence.p_correct is None else None,
    }
    return {name: value for name, value in found.items() if value is not None}


def _attributes(verdict: Verdict) -> dict[str, Any]:
    return {
        **_attempt(verdict.attempts[-1]),
        "guardrail.actions": verdict.actions,
        "guardrail.policy": verdict.policy,
        "guardrail.calibrator": verdict.calibrator or "none",
        "gen_ai.request.model": verdict.model,
    }


def _content(messages: Sequence[Message], verdict: Verdict) -> dict[str, str]:
    """The GenAI conventions' form: JSON text of messages in parts."""
    finish = {"finish_reason": verdict.attempts[-1].finish_reason}
    return {
        "gen_ai.input.messages": json.dumps([_parts(str(m["role"]), m.get("content")) for m in messages]),
        "gen_ai.output.messages": json.dumps([_parts("assistant", verdict.text) | finish]),
        "guardrail.answer": verdict.answer,
    }


def _parts(role: str, text: str | None) -> dict[str, Any]:
    return {"role": role, "parts": [{"type": "text", "content": text or ""}]}
