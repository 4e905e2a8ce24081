"""Scoring 16 answers of mixed lengths together, against one after the other."""

from __future__ import annotations

import statistics
from collections.abc import Callable

from guardrail.types import Score
from tests.benchmarks.bars import BATCH, Bar
from tests.benchmarks.measure import Budget, Column, milliseconds
from tests.benchmarks.subject import Subject

PROMPTS = (50, 64, 81, 120, 55, 230, 70, 96, 52, 150, 61, 88, 310, 75, 58, 110)
RESPONSES = (8, 21, 5, 40, 12, 9, 64, 16, 4, 33, 7, 26, 11, 48, 6, 18)


def batch(subject: Subject, budget: Budget) -> list[Bar]:
    """Print throughput of both, from generation's states and from ids alone, and return the bars."""
    scorer, device = subject.scorer, subject.device
    traces = [subject.answer(subject.prompt(p), r, keep=True) for p, r in zip(PROMPTS, RESPONSES, strict=True)]
    pairs = [(t.prompt_ids, t.response_ids) for t in traces]
    ways: dict[str, tuple[Callable[[], list[Score]], Callable[[], list[Score]]]] = {
        "generation's states": (
            lambda: scorer.score_traces(traces),
            lambda: [scorer.score_trace(t) for t in traces],
        ),
        "ids alone": (
            lambda: scorer.score_batch(pairs),
            lambda: [scorer.score(*pair) for pair in pairs],
        ),
    }
    print(
        f"{len(traces)} answers of {min(RESPONSES)} to {max(RESPONSES)} tokens to prompts of {min(PROMPTS)} to {max(PROMPTS)}; "
        f"median ms for all of them (quartiles) of {budget.repetitions} interleaved runs.\n"
    )
    print("| from | together | one after the other | throughput ratio | largest difference of a score |")
    print("|" + " --- |" * 5, flush=True)
    bars = []
    budget = Budget(budget.repetitions, budget.seconds * 4)  # a run scores 32 answers
    for name, (together, singly) in ways.items():

        def work(together: Callable[[], object] = together, singly: Callable[[], object] = singly) -> dict[str, float]:
            ms = {"together": milliseconds(together, device), "singly": milliseconds(singly, device)}
            return {**ms, "ratio": ms["singly"] / ms["together"]}

        difference = max(abs(a.value / b.value - 1) for a, b in zip(together(), singly(), strict=True))
        column = Column(work, budget)
        column.warm_up()
        while column.wanted:
            column.run()
        cells = [column.cell(c) for c in ("together", "singly", "ratio")]
        print(f"| {name} | {' | '.join(cells)} | {difference:.1e} |", flush=True)
        if not column.why_not:
            value = statistics.median(column.values["ratio"])
            bars.append(
                Bar(f"throughput of a batch of 16, {name}", value, "at least", BATCH[device.type], "", cells[-1])
            )
    return bars
