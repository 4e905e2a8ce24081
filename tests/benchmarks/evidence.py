"""What an answer with passages costs more: the two passes that compare it with and without them."""

from __future__ import annotations

from dataclasses import replace

from guardrail.retrieval import with_evidence
from guardrail.scoring.stacked.evidence_pass import evidence_numbers
from guardrail.types import Evidence, Trace
from tests.benchmarks.bars import Bar
from tests.benchmarks.measure import Budget, Column, milliseconds
from tests.benchmarks.subject import Subject

QUESTION = 50
PASSAGES = (50, 200, 800)
RESPONSES = (8, 32)


def evidence(subject: Subject, budget: Budget) -> list[Bar]:
    """Print generation, HybridGrad's pass and the two passes by the passage's length; there is no bar."""
    print(f"A question of {QUESTION} tokens behind one passage; median ms (quartiles).\n")
    print("| passage | response | generation | HybridGrad | with and without the passage | the latter / generation |")
    print("|" + " --- |" * 6, flush=True)
    for passage in PASSAGES:
        for response in RESPONSES:
            column = _column(subject, passage, response, budget)
            column.warm_up()
            while column.wanted:
                column.run()
            cells = [column.cell(name) for name in ("generation", "hybridgrad", "evidence")]
            print(f"| {passage} | {response} | {' | '.join(cells)} | {column.cell('share', ' %')} |", flush=True)
    return []


def _column(subject: Subject, passage: int, response: int, budget: Budget) -> Column:
    asked = ({"role": "user", "content": subject.prompt(QUESTION)},)
    found = (Evidence(subject.prompt(passage)),)
    messages = with_evidence(asked, found)

    def generate() -> Trace:
        return subject.local.generate(messages, max_new_tokens=response, keep=subject.scorer.keep)

    def work() -> dict[str, float]:
        traces: list[Trace] = []
        ms = {"generation": milliseconds(lambda: traces.append(generate()), subject.device)}
        marked = replace(traces[0], evidence=found, asked=asked)
        ms["hybridgrad"] = milliseconds(lambda: subject.scorer.score_traces([marked]), subject.device)
        ms["evidence"] = milliseconds(lambda: evidence_numbers(subject.local, [marked]), subject.device)
        return {**ms, "share": 100 * ms["evidence"] / ms["generation"]}

    return Column(work, budget)
