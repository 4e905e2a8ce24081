"""The grid: a row for each prompt length with each response length, and the bars that it is held against."""

from __future__ import annotations

import statistics

from guardrail.retrieval.embedding import SentenceEmbeddings
from guardrail.retrieval.embedding_spec import DEFAULT_EMBEDDING
from tests.benchmarks.bars import ADDED, AGREEMENT, FASTER, Bar
from tests.benchmarks.baselines import SAMPLES
from tests.benchmarks.cell import Cell
from tests.benchmarks.measure import Budget, megabytes, number, spread
from tests.benchmarks.subject import Subject

HEADINGS = (
    *("prompt", "response", "generation", "guarded", "added", "scoring", "scoring / generation", "scoring from ids"),
    *("released way", "released / scoring", "G-NLL", "Semantic Entropy", "Semantic Entropy / generation"),
    *("scoring, MB", "kept, MB", "released way, MB"),
)


def grid(subject: Subject, prompts: list[int], responses: list[int], budget: Budget) -> list[Bar]:
    """Measure every cell, print each row as soon as it is there, and return the bars."""
    embedder = SentenceEmbeddings(DEFAULT_EMBEDDING, device=subject.device.type)
    embedder.embed_documents(["warm-up"] * SAMPLES)
    print(
        f"Median ms (quartiles) of {budget.repetitions} interleaved runs, fewer where they take over {budget.seconds:g} s.\n"
    )
    print(f"| {' | '.join(HEADINGS)} |\n|{' --- |' * len(HEADINGS)}", flush=True)
    bars, disagreements = [], []
    for prompt in prompts:
        for response in responses:
            if why_not := subject.fits(prompt, response):
                print(f"| {prompt:,} | {response:,} | {why_not} |{' |' * (len(HEADINGS) - 3)}", flush=True)
                continue
            cell = Cell(subject, embedder, prompt, response, budget)
            cell.measure()
            print(f"| {' | '.join(_row(cell))} |", flush=True)
            bars += _bars(cell)
            disagreements += [cell.disagreement] if len(cell.semgrads) > 1 else []
    if disagreements:
        note = "" if subject.device.type == "cpu" else "the bar is for float32"
        bars.append(
            Bar("SemGrad differs from the released way's by", max(disagreements), "at most", AGREEMENT, "", note)
        )
    return bars


def _row(cell: Cell) -> list[str]:
    answer = cell.columns["answer"]
    faster, samples = cell.ratio("released", "scoring"), cell.ratio("entropy", "generation")
    entropy_cell = cell.columns["entropy"].cell("entropy")
    if 0 < cell.batch < SAMPLES:
        entropy_cell += f", batches of {cell.batch}"
    return [
        *(f"{n:,}" for n in cell.size),
        answer.cell("generation"),
        answer.cell("guarded"),
        answer.cell("added", " %"),
        answer.cell("scoring"),
        answer.cell("share", " %"),
        cell.columns["ids"].cell("ids"),
        cell.columns["released"].cell("released"),
        spread(faster, cell.columns["released"].budget.repetitions) if faster else "",
        cell.columns["g_nll"].cell("g_nll"),
        entropy_cell,
        number(statistics.median(samples)) if samples else "",
        *(megabytes(cell.memory.get(name)) for name in ("scoring", "kept", "released")),
    ]


def _bars(cell: Cell) -> list[Bar]:
    kind = "cpu" if cell.device.type == "cpu" else cell.subject.name
    prompt, response = cell.size
    where = f"{response} response tokens, prompt {prompt:,}"
    found = []
    if response in ADDED[kind]:
        added, share = (statistics.median(cell.values("answer", name)) for name in ("added", "share"))
        note = f"scoring alone {share:.1f}% of generation"
        found.append(Bar(f"added to generation, {where}", added / 100, "at most", ADDED[kind][response], "%", note))
    if response == 8 and (faster := cell.ratio("released", "scoring")):
        against_added = statistics.median(cell.values("released")) / statistics.median(
            cell.values("answer", "added ms")
        )
        against_ids = statistics.median(cell.values("released")) / statistics.median(cell.values("ids"))
        note = f"against all that ours adds {against_added:.1f}, against scoring from ids {against_ids:.1f}"
        value = statistics.median(faster)
        found.append(Bar(f"times faster than the released way, {where}", value, "at least", FASTER[kind], "", note))
    return found
