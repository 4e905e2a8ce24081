"""What Prometheus reads: numbers and the names of policies, actions and labels; no texts."""

from __future__ import annotations

from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_SECONDS = (0.005, 0.025, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)


class Metrics:
    """The metrics of one server, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        on: dict[str, Any] = {"registry": self.registry}
        self.decisions = Counter("guardrail_decisions", "Decisions.", ["policy", "action", "label"], **on)
        shares = tuple(n / 10 for n in range(1, 11))
        self.escalations = Counter(
            "guardrail_escalations", "Verdicts of a second model.", ["policy", "action", "first", "second"], **on
        )
        self.confidence = Histogram("guardrail_confidence", "Calibrated confidences.", buckets=shares, **on)
        self.queue_length = Gauge("guardrail_queue_length", "Requests that wait for a slot.", **on)
        self.queue_wait = Histogram("guardrail_queue_wait_seconds", "Waiting for a slot.", buckets=_SECONDS, **on)
        self.stages = Histogram("guardrail_stage_seconds", "By stage of a verdict.", ["stage"], buckets=_SECONDS, **on)
        self.passes = Histogram(
            "guardrail_passes_seconds", "In shared passes: wait, generate.", ["what"], buckets=_SECONDS, **on
        )
        self.tokens = Counter("guardrail_tokens", "Tokens read and written.", ["kind"], **on)
        self.webhooks = Counter("guardrail_webhooks", "Tries to deliver a late verdict.", ["outcome"], **on)
        self.refusals = Counter("guardrail_refusals", "Requests answered with an error.", ["code"], **on)

    def verdict(self, metadata: dict[str, Any]) -> None:
        """Count a verdict, by its metadata."""
        self.decisions.labels(metadata["policy"], metadata["action"], metadata["label"] or "none").inc()
        if (told := metadata.get("escalation")) is not None:
            models = (told["first"]["model"], told["second"]["model"])
            self.escalations.labels(metadata["policy"], metadata["action"], *models).inc()
        if metadata["confidence"] is not None:
            self.confidence.observe(metadata["confidence"])
        for stage, milliseconds in metadata["latency_ms"].items():
            self.stages.labels(stage).observe(milliseconds / 1000)

    def timing(self, what: str, seconds: float) -> None:
        """Count what an answer waited for its first shared pass, or was generated for."""
        self.passes.labels(what).observe(seconds)

    def used(self, read: int, written: int) -> None:
        """Count tokens."""
        self.tokens.labels("prompt").inc(read)
        self.tokens.labels("completion").inc(written)

    def webhook(self, outcome: str) -> None:
        """Count what a try to deliver a late verdict came to."""
        self.webhooks.labels(outcome).inc()

    def text(self) -> bytes:
        """All of them, as Prometheus reads them."""
        return generate_latest(self.registry)
