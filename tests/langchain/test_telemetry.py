"""Telemetry against the real OpenTelemetry SDK: spans where the stages ran, metrics, content only on request."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time

import pytest
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from guardrail import Guard, MissingExtraError, Policy
from guardrail.langchain import ChatGuarded, GuardRunnable
from guardrail.observers.protocol import Observation, Stage
from guardrail.observers.telemetry import CONTENT_VARIABLE, Telemetry, with_telemetry
from guardrail.testing import tiny_local_model
from guardrail.types import Attempt, Confidence, Decision, Score, Verdict
from tests.helpers.growth import seconds
from tests.helpers.langchain_doubles import UNSURE, Foreign, judging
from tests.helpers.scripted_claims import QUESTION, france, guarded

LOOK_UP_THEN_ABSTAIN = Policy.from_text(
    "version: 1\nname: look up\nretrieval: {max_passes: 1}\nrules:\n"
    "- {name: first, when: {evidence: absent}, then: retrieve}\n",
    "look_up.yaml",
)


class Passage(BaseRetriever):
    def _get_relevant_documents(self, query, *, run_manager):
        return [Document(page_content="A passage.")]


@pytest.fixture(scope="module")
def local():
    return tiny_local_model(vocab_size=261)


class Recorder:
    """A `Telemetry` with an SDK of its own behind it."""

    def __init__(self, **options):
        self.spans, self.reader = InMemorySpanExporter(), InMemoryMetricReader()
        provider = TracerProvider()
        provider.add_span_processor(SimpleSpanProcessor(self.spans))
        self.tracer = provider.get_tracer("test")
        meters = MeterProvider(metric_readers=[self.reader])
        self.logs, loggers = InMemoryLogRecordExporter(), LoggerProvider()
        loggers.add_log_record_processor(SimpleLogRecordProcessor(self.logs))
        providers = {"tracer_provider": provider, "meter_provider": meters, "logger_provider": loggers}
        self.telemetry = Telemetry(**providers, **options)

    def events(self):
        return [data.log_record for data in self.logs.get_finished_logs()]

    def named(self, name):
        return [span for span in self.spans.get_finished_spans() if span.name == name]

    def metrics(self):
        data = self.reader.get_metrics_data()
        if data is None:
            return {}
        return {m.name: m for r in data.resource_metrics for s in r.scope_metrics for m in s.metrics}


def test_a_span_an_answer_with_a_child_for_each_stage(local):
    rec = Recorder()
    guard = Guard(model=local, policy=LOOK_UP_THEN_ABSTAIN, retriever=Passage(), observers=[rec.telemetry])
    before = time.time_ns()
    with rec.tracer.start_as_current_span("request") as request:
        verdict = guard.answer("Who?", max_new_tokens=4)
    after = time.time_ns()
    (span,) = rec.named("guardrail.answer")
    assert span.parent.span_id == request.get_span_context().span_id
    assert span.attributes["guardrail.actions"] == ("retrieve", "abstain") == verdict.actions
    assert span.attributes["guardrail.action"] == "abstain"
    assert span.attributes["gen_ai.request.model"] == "tiny-llama"
    assert span.attributes["guardrail.score.hybridgrad"] == verdict.score.hybridgrad
    assert span.attributes["guardrail.evidence.count"] == 1
    assert "guardrail.label" not in span.attributes  # there is no calibrator, so no label
    children = [s for s in rec.spans.get_finished_spans() if s.parent and s.parent.span_id == span.context.span_id]
    passes = ["generate", "score", "calibrate", "decide"]
    assert [s.name.removeprefix("guardrail.") for s in children] == [*passes, "retrieve", *passes, "render"]
    assert [s.attributes["guardrail.action"] for s in children if s.name == "guardrail.decide"] == [
        "retrieve",
        "abstain",
    ]
    assert all(s.end_time >= s.start_time for s in children)
    times = [t for s in children for t in (s.start_time, s.end_time)]
    assert times == sorted(times)  # the stages of one answer follow each other
    slack = 2_000_000  # ns: the two clocks are read one after the other
    assert before - slack <= span.start_time <= children[0].start_time
    assert children[-1].end_time <= span.end_time <= after + slack
    for stage in ("generate", "score"):
        spent = sum(s.end_time - s.start_time for s in children if s.name == f"guardrail.{stage}") / 1e6
        assert spent == pytest.approx(verdict.timing_ms[stage], rel=1e-3)


def test_the_decisions_on_claims_are_stages_of_their_own():
    rec = Recorder()
    verdict = guarded(france(), observers=[rec.telemetry]).answer(QUESTION)
    assert verdict.claims
    decided = rec.named("guardrail.decide")
    assert [s.attributes.get("guardrail.action") for s in decided] == [None, verdict.action]


def test_metrics_of_a_batch(local):
    rec = Recorder()
    guard = Guard(model=local, policy=LOOK_UP_THEN_ABSTAIN, retriever=Passage(), observers=[rec.telemetry])
    verdicts = guard.answer_batch(["Who?", "Why?", "When?"], max_new_tokens=4)
    metrics = rec.metrics()
    decisions = {p.attributes["guardrail.action"]: p for p in metrics["guardrail.decisions"].data.data_points}
    assert {action: p.value for action, p in decisions.items()} == {"retrieve": 3, "abstain": 3}
    assert decisions["abstain"].attributes == {
        "guardrail.action": "abstain", "guardrail.label": "none", "guardrail.policy": "look up",
        "gen_ai.request.model": "tiny-llama",
    }  # fmt: skip
    (scoring,) = metrics["guardrail.score.duration"].data.data_points
    assert metrics["guardrail.score.duration"].unit == "s"
    assert scoring.count == 6
    assert scoring.sum == pytest.approx(sum(v.timing_ms["score"] for v in verdicts) / 1000, rel=1e-3)
    assert "guardrail.confidence" not in metrics  # nothing was calibrated
    batch_sizes = {s.attributes["guardrail.batch_size"] for s in rec.named("guardrail.generate")}
    assert batch_sizes == {3}


def test_confidence_and_label(local):
    rec = Recorder()
    guard = judging(local, UNSURE, observers=[rec.telemetry])
    verdict = guard.check("Who?", "It was Bell.")
    (point,) = rec.metrics()["guardrail.confidence"].data.data_points
    assert (point.count, point.sum) == (1, verdict.confidence.p_correct)
    assert len(point.explicit_bounds) == 19
    (decision,) = rec.metrics()["guardrail.decisions"].data.data_points
    assert decision.attributes["guardrail.label"] == verdict.label
    (span,) = rec.named("guardrail.check")
    assert span.attributes["guardrail.confidence.p_correct"] == verdict.confidence.p_correct


def test_content_is_off_unless_asked_for(local, monkeypatch):
    secret, said = "Is it gold?", "Silver it is."

    def everything(rec):
        Guard(model=local, policy=LOOK_UP_THEN_ABSTAIN, observers=[rec.telemetry]).check(secret, said)
        return "".join(s.to_json() for s in rec.spans.get_finished_spans()) + str(rec.metrics())

    quiet = everything(Recorder())
    assert "gold" not in quiet
    assert "Silver" not in quiet
    loud = Recorder(content=True)
    everything(loud)
    (span,) = loud.named("guardrail.check")
    assert json.loads(span.attributes["gen_ai.input.messages"]) == [
        {"role": "user", "parts": [{"type": "text", "content": secret}]}
    ]
    (shown,) = json.loads(span.attributes["gen_ai.output.messages"])
    assert "do not know" in shown["parts"][0]["content"]
    assert span.attributes["guardrail.answer"] == said
    assert said not in str(loud.metrics())
    monkeypatch.setenv(CONTENT_VARIABLE, "true")
    assert "gold" in everything(Recorder())
    assert "gold" not in everything(Recorder(content=False))


def test_every_guard_has_it_once(local):
    rec, seen = Recorder(), []
    ours = Guard(model=local, policy="observe", observers=[seen.append])
    assert [type(o) for o in ours.observers] == [Telemetry, type(seen.append)]
    verdict = ours.check("Who?", "Bell.")
    (observation,) = seen
    assert isinstance(observation, Observation)
    assert observation.verdict is verdict
    assert [s.name for s in observation.stages] == ["score", "calibrate", "decide", "render"]
    assert with_telemetry([rec.telemetry]) == (rec.telemetry,)


def test_without_an_sdk_it_costs_next_to_nothing(local):
    seen = []
    Guard(model=local, policy="observe", observers=[seen.append]).check("Who?", "Bell.")
    telemetry = Telemetry()
    assert seconds(lambda: telemetry(seen[0]), 200) < 0.001  # measured: 4 to 11 microseconds


def test_without_the_package_a_guard_answers_and_the_error_names_the_extra(monkeypatch, local):
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    with pytest.raises(MissingExtraError, match=r"hybridgrad-guardrail\[otel\]"):
        Telemetry()
    guard = Guard(model=local, policy="observe")
    assert guard.observers == ()
    assert guard.check("Who?", "Bell.").action == "answer"


def test_an_sdk_that_is_set_up_later_is_found():
    code = """
from guardrail.observers.protocol import Observation, Stage
from guardrail.observers.telemetry import Telemetry
from guardrail.types import Attempt, Confidence, Decision, Score, Verdict
telemetry = Telemetry()
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
exporter, provider = InMemorySpanExporter(), TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(exporter))
trace.set_tracer_provider(provider)
attempt = Attempt("Bell", Score.none("not_finite"), Confidence.none("x"), Decision("abstain", "r", "x"), "stop")
telemetry(Observation((), Verdict("x", (attempt,), {}, "m", None, "p"), (Stage("decide", 1.0, 2.0),)))
print([s.name for s in exporter.get_finished_spans()])
"""
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout == "['guardrail.decide', 'guardrail.answer']\n"


@pytest.mark.parametrize("surface", ["runnable", "chat model"])
def test_the_span_has_its_parent_also_where_async_code_scores_in_a_thread(local, surface):
    rec = Recorder()
    if surface == "runnable":
        guarded = GuardRunnable(
            Guard(model=local, policy="observe", observers=[rec.telemetry]), model=Foreign(script=["x"])
        )
    else:
        guarded = ChatGuarded(model=local, policy="observe", max_tokens=2, observers=(rec.telemetry,))

    async def ask():
        with rec.tracer.start_as_current_span("request") as request:
            await guarded.ainvoke("Who?")
        return request.get_span_context().span_id

    parent = asyncio.run(ask())
    (span,) = [s for s in rec.spans.get_finished_spans() if s.name in ("guardrail.answer", "guardrail.check")]
    assert span.parent.span_id == parent


def test_a_turn_that_passed_unjudged_is_no_decision():
    rec = Recorder()
    attempt = Attempt("", Score.none("tool_call"), Confidence.none("x"), Decision("answer", "tool call", "x"), "stop")
    stages = (Stage("generate", 1.0, 2.0), Stage("render", 2.0, 2.1))
    rec.telemetry(Observation((), Verdict("", (attempt,), {}, "m", None, "p"), stages))
    assert rec.metrics() == {}
    (span,) = rec.named("guardrail.answer")
    assert span.attributes["guardrail.score.unscored"] == "tool_call"


def judged_by_hand():
    """A verdict of two passes: the first is unscored, the second has a confidence."""
    first = Attempt(
        "", Score.none("empty_answer"), Confidence.none("unscored"), Decision("retrieve", "look", "x"), "stop"
    )
    sure = Confidence(0.75, 0.6, 0.9, "high")
    last = Attempt(
        "Paris", Score(1.0, 1.0, 1.0, 1.0, 2.0, 3), sure, Decision("answer", "sure", "a secret reason"), "stop"
    )
    return Observation((), Verdict("Paris", (first, last), {}, "m", "c", "p"), (Stage("generate", 1.0, 2.0),))


def test_an_evaluation_event_for_each_attempt_belongs_to_the_span():
    rec = Recorder(content=False)
    rec.telemetry(judged_by_hand())
    (span,) = rec.named("guardrail.answer")
    unscored, judged = rec.events()
    assert {event.event_name for event in (unscored, judged)} == {"gen_ai.evaluation.result"}
    assert {(event.trace_id, event.span_id) for event in (unscored, judged)} == {
        (span.context.trace_id, span.context.span_id)
    }
    assert dict(unscored.attributes) == {"gen_ai.evaluation.name": "guardrail.confidence", "error.type": "empty_answer"}
    assert dict(judged.attributes) == {
        "gen_ai.evaluation.name": "guardrail.confidence",
        "gen_ai.evaluation.score.value": 0.75,
        "gen_ai.evaluation.score.label": "high",
    }


def test_the_explanation_is_content():
    rec = Recorder(content=True)
    rec.telemetry(judged_by_hand())
    assert rec.events()[1].attributes["gen_ai.evaluation.explanation"] == "a secret reason"
