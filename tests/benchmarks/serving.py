"""Many clients of one model: answers a second with shared passes, guarded and with scoring off."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass

from guardrail import Guard, load_model
from guardrail.data import load_questions
from guardrail.model.local import LocalModel
from tests.benchmarks.bars import SERVING_ADDED, SERVING_SPEEDUP, Bar
from tests.benchmarks.subject import EMBEDDED

CLIENTS = (1, 16)
MORE_CLIENTS = (1, 4, 16, 32)
TOKENS = 32
ANSWERS = 48
OF_ONE = 3
"""One client is asked every third of these questions: it takes three times as long for each."""


@dataclass(frozen=True, slots=True)
class Rate:
    """Answers a second, and processor seconds of this process for an answer, which others on the machine change less."""

    answers: float
    cpu: float


def serving(repeats: int = 3, *, full: bool = False) -> list[Bar]:
    """Print answers a second by number of clients and return the bars; always on the embedded model.

    repeats: how often all is measured, on other questions each time; the bars are medians, with the lowest and the highest.
    """
    model = load_model(EMBEDDED, device="cpu")
    guard = Guard(model=model)
    questions = [q.question for q in load_questions("heldout")]
    prompts = [
        guard.calibrated.origin.prompt.replace("{question}", q) if guard.calibrated.origin else q for q in questions
    ]

    def guarded(i: int) -> tuple[int, ...]:
        trace = guard.answer(questions[i], max_new_tokens=TOKENS).attempts[0].trace
        return trace.response_ids if trace else ()

    def unscored(i: int) -> tuple[int, ...]:
        return model.generate_batch([prompts[i]], max_new_tokens=TOKENS)[0].response_ids

    ways: dict[str, Callable[[int], tuple[int, ...]]] = {"guarded": guarded, "scoring off": unscored}
    print(
        f"Bundled questions, answers of {TOKENS} tokens at most, max_rows 16; answers a second, and CPU seconds of one.\n"
    )
    columns = [f"{name}, {what}" for name in ways for what in ("a second", "CPU s")]
    print(f"| repeat | clients | answers | {' | '.join(columns)} | guard adds |\n|{' --- |' * 8}", flush=True)
    rates: dict[tuple[str, int], list[Rate]] = {}
    for repeat in range(repeats):
        first = repeat * ANSWERS % (len(questions) - ANSWERS)
        for clients in MORE_CLIENTS if full else CLIENTS:
            asked = range(first, first + ANSWERS, OF_ONE if clients == 1 else 1)
            for name, ask in ways.items():
                rates.setdefault((name, clients), []).append(_rate(model, ask, asked, clients))
            here = [rates[name, clients][-1] for name in ways]
            shown = " | ".join(f"{rate.answers:.2f} | {rate.cpu:.3f}" for rate in here)
            print(f"| {repeat + 1} | {clients} | {len(asked)} | {shown} | {_added(*here):.0%} |", flush=True)
    alone = [unscored(i) for i in range(16)]
    with model.shared(), ThreadPoolExecutor(16) as pool:
        same = sum(a == b for a, b in zip(alone, pool.map(unscored, range(16)), strict=True))
    print(f"\n{same} of {len(alone)} answers have the same token ids as alone.")
    off, one, many = rates["scoring off", 16], rates["guarded", 1], rates["guarded", 16]
    speedups = [b.answers / a.answers for a, b in zip(one, many, strict=True)]
    by_cpu = [a.cpu / b.cpu for a, b in zip(one, many, strict=True)]
    added = [_added(a, b) for a, b in zip(many, off, strict=True)]
    note = f"{_range(speedups)} of {repeats}; by CPU time {statistics.median(by_cpu):.2f}, {_range(by_cpu)}"
    return [
        Bar(
            "Answers of 16 clients, against one",
            statistics.median(speedups),
            "at least",
            SERVING_SPEEDUP,
            " times",
            note,
        ),
        Bar(
            "Added by the guard to an answer, 16 clients",
            statistics.median(added),
            "at most",
            SERVING_ADDED,
            "%",
            f"{_range([100 * x for x in added])} % of {repeats}",
        ),
    ]


def _added(guarded: Rate, off: Rate) -> float:
    return off.answers / guarded.answers - 1


def _range(found: Sequence[float]) -> str:
    return f"{min(found):.3g} to {max(found):.3g}"


def _rate(model: LocalModel, ask: Callable[[int], object], asked: Sequence[int], clients: int) -> Rate:
    with model.shared() if clients > 1 else nullcontext(), ThreadPoolExecutor(clients) as pool:
        start, began = time.perf_counter(), time.process_time()
        list(pool.map(ask, asked))
        return Rate(len(asked) / (time.perf_counter() - start), (time.process_time() - began) / len(asked))
