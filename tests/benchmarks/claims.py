"""Scoring the claims of an answer of 200 tokens, against one score of the whole answer."""

from __future__ import annotations

import statistics
from dataclasses import replace
from itertools import pairwise

from guardrail.calibration.shipped import load_calibrator
from guardrail.model.recording import Keep
from guardrail.scoring.protocol import SpanScorer
from guardrail.scoring.stacked.model import StackedModel
from guardrail.scoring.stacked.scorer import StackedScorer
from guardrail.types import Trace
from tests.benchmarks.bars import Bar, claims_bar
from tests.benchmarks.measure import Budget, Column, milliseconds
from tests.benchmarks.subject import EMBEDDED, Subject

PROMPT, RESPONSE = 50, 200
COUNTS = (2, 5, 10, 20)


def claims(subject: Subject, budget: Budget) -> list[Bar]:
    """Print both by number of claims, from generation's states and from ids alone, and return the bars."""
    shipped = _shipped(subject) if subject.name == EMBEDDED else None
    keep = Keep.joined([scorer.keep for scorer in (subject.scorer, shipped) if scorer])
    kept = subject.local.generate(subject.prompt(PROMPT), max_new_tokens=RESPONSE, keep=keep)
    ways: list[tuple[str, Trace, SpanScorer]] = [
        ("generation's states", kept, subject.scorer),
        ("ids alone", replace(kept, state=None), subject.scorer),
    ]
    if shipped:
        ways.insert(1, ("generation's states, the shipped stacked score", kept, shipped))
    print(
        f"An answer of {RESPONSE} tokens to a prompt of {PROMPT}, cut into claims of one length; median ms (quartiles) of "
        f"{budget.repetitions} interleaved runs.\n"
    )
    print("| from | claims | whole answer | its claims | ratio | bar |\n|" + " --- |" * 6, flush=True)
    bars = []
    for name, trace, scorer in ways:
        for count in COUNTS:
            ends = [round(RESPONSE * i / count) for i in range(count + 1)]
            spans = list(pairwise(ends))

            def work(trace=trace, scorer=scorer, spans=spans) -> dict[str, float]:
                whole = milliseconds(lambda: subject.scorer.score_trace(trace), subject.device)
                parts = milliseconds(lambda: scorer.score_spans([trace], [spans]), subject.device)
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


def _shipped(subject: Subject) -> StackedScorer:
    """What a Guard scores the embedded model's claims with."""
    origin = load_calibrator(f"shipped:{EMBEDDED}-claims").provenance
    assert origin is not None
    return StackedScorer(subject.local, StackedModel.model_validate(origin.profile))
