"""What a Guard costs beyond generation and scoring: messages, calibration, decision, wording."""

from __future__ import annotations

import statistics
import time

from guardrail import Guard, load_model
from guardrail.data import load_questions
from tests.benchmarks.bars import GUARD_MS, Bar
from tests.benchmarks.measure import Budget, spread
from tests.benchmarks.subject import EMBEDDED

STAGES = ("calibrate", "decide", "render")
POLICIES = ("default", "strict", "observe")
QUESTIONS = 12
TOKENS = 4


def overhead(budget: Budget) -> list[Bar]:
    """Print the stages' times by policy and return the bars. Always on the embedded model: its own work is subtracted.

    total: wall time of `Guard.answer` less generation and scoring, so that everything between the stages counts.
    """
    model = load_model(EMBEDDED, device="cpu")
    questions = [q.question for q in load_questions("heldout")][:: max(1, len(load_questions("heldout")) // QUESTIONS)]
    print(f"{QUESTIONS} questions, ms an answer, median (quartiles); total: all but generation and scoring.\n")
    print(f"| policy | {' | '.join(STAGES)} | total | actions |\n|{' --- |' * (len(STAGES) + 3)}", flush=True)
    medians: dict[str, float] = {}
    worst = 0.0
    for policy in POLICIES:
        guard = Guard(model=model, policy=policy)
        guard.answer(questions[0], max_new_tokens=TOKENS)
        ms: dict[str, list[float]] = {name: [] for name in (*STAGES, "total")}
        actions: set[str] = set()
        stop = time.perf_counter() + budget.seconds
        for question in questions[:QUESTIONS]:
            start = time.perf_counter()
            verdict = guard.answer(question, max_new_tokens=TOKENS)
            whole = (time.perf_counter() - start) * 1000
            for stage in STAGES:
                ms[stage].append(verdict.timing_ms[stage])
            ms["total"].append(whole - verdict.timing_ms["generate"] - verdict.timing_ms["score"])
            actions.add(verdict.action)
            if time.perf_counter() > stop:
                break
        print(f"| {policy} | {' | '.join(spread(v) for v in ms.values())} | {', '.join(sorted(actions))} |", flush=True)
        medians[policy] = statistics.median(ms["total"])
        worst = max(worst, *ms["total"])
    slowest = max(medians, key=lambda policy: medians[policy])
    note = f"policy {slowest!r}, the slowest; one answer took {worst:.2f} ms"
    return [Bar("Guard overhead without model work", medians[slowest], "at most", GUARD_MS, " ms", note)]
