"""Scoring the claims of an answer of 200 tokens, against one score of the whole answer."""

from __future__ import annotations

import statistics
from dataclasses import replace
from itertools import pairwise

from tests.benchmarks.bars import Bar, claims_bar
from tests.benchmarks.measure import Budget, Column, milliseconds
from tests.benchmarks.subject import Subject

PROMPT, RESPONSE = 50, 200
COUNTS = (2, 5, 10, 20)


def claims(subject: Subject, budget: Budget) -> list[Bar]:
    """Print both by number of claims, from generation's states and from ids alone, and return the bars."""
    kept = subject.answer(subject.prompt(PROMPT), RESPONSE, keep=True)
    print(
        f"An answer of {RESPONSE} tokens to a prompt of {PROMPT}, cut into claims of one length; median ms (quartiles) of "
        f"{budget.repetitions} interleaved runs.\n"
    )
    print("| from | claims | whole answer | its claims | ratio | bar |\n|" + " --- |" * 6, flush=True)
    bars = []
    for name, trace in (("generation's states", kept), ("ids alone", replace(kept, state=None))):
        for count in COUNTS:
            ends = [round(RESPONSE * i / count) for i in range(count + 1)]
            spans = list(pairwise(ends))

            def work(trace=trace, spans=spans) -> dict[str, float]:
                whole = milliseconds(lambda: subject.scorer.score_trace(trace), subject.device)
                parts = milliseconds(lambda: subject.scorer.score_spans([trace], [spans]), subject.device)
                return {"whole": whole, "claims": parts, "ratio": parts / whole}

            column = Column(work, budget)
            column.warm_up()
            while column.wanted:
                column.run()
            cells = " | ".join(column.cell(c) for c in ("whole", "claims", "ratio"))
            print(f"| {name} | {count} | {cells} | {claims_bar(count):g} |", flush=True)
            if not column.why_not:
                value = statistics.median(column.values["ratio"])
                bars.append(Bar(f"{count} claims, {name}", value, "at most", claims_bar(count), " whole scores"))
    return bars
