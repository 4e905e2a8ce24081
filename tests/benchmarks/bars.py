"""The bars that a run is held against. Knows nothing about how a figure was measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from tests.benchmarks.subject import LLAMA_8B

FASTER = {"cpu": 6.0, LLAMA_8B: 8.0}
"""Times faster than the released way, 8 response tokens."""
ADDED = {"cpu": {8: 0.25, 32: 0.12, 128: 0.08}, LLAMA_8B: {8: 0.20, 32: 0.06, 128: 0.03}}
"""Added to generation, by response tokens."""
AGREEMENT = 1e-4
"""Relative difference of scores in float32."""
BATCH = {"cpu": 1.0, "cuda": 3.0}
"""Throughput of a batch of 16 against single scoring."""
MEMORY = 1.2
"""Extra peak memory of scoring, prompt of 8,000 tokens against one of 100."""
GUARD_MS = 1.0
"""Guard overhead without model work, an answer."""
SERVING_SPEEDUP = 3.0
"""Answers a second of 16 clients that share passes, against those of one."""
WORKERS = 1.6
"""Answers a second of two workers of one thread each, against those of one."""
SERVING_ADDED = 0.25
"""Added by the guard to the time per answer of 16 clients."""
SERVER_MS = {"median": 5.0, "p99": 15.0}
"""Added to a request by the server, beyond the work of the guard and its model."""
SOAK_MEMORY = 0.05
"""Memory that a server under load gains after its first minute."""


def claims_bar(count: int) -> float:
    """Cost of scoring that many claims, in scores of the whole answer, for answers of 200 tokens."""
    return 1 + 0.25 * count


@dataclass(frozen=True, slots=True)
class Bar:
    """A figure and its bar; `better` says on which side of the bar it must be. note: what else the reader should know."""

    name: str
    value: float
    better: Literal["at least", "at most"]
    bar: float
    unit: str = ""
    note: str = ""

    @property
    def met(self) -> bool:
        return self.value >= self.bar if self.better == "at least" else self.value <= self.bar

    def __str__(self) -> str:
        shown = f"{self.value:.1%}" if self.unit == "%" else f"{self.value:.3g}{self.unit}"
        limit = f"{self.bar:.0%}" if self.unit == "%" else f"{self.bar:g}{self.unit}"
        note = f" ({self.note})" if self.note else ""
        return f"- {'met' if self.met else 'NOT MET'}: {self.name}: {shown}, {self.better} {limit}{note}"


def print_bars(bars: Sequence[Bar]) -> None:
    print("\nBars:" if bars else "\nBars: none was measured here.")
    for bar in bars:
        print(bar)
    print(flush=True)
