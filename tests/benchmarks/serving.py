"""Many clients of one model: answers a second with shared passes, guarded and with scoring off."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext

from guardrail import Guard, load_model
from guardrail.data import load_questions
from guardrail.model.local import LocalModel
from tests.benchmarks.bars import SERVING_ADDED, SERVING_SPEEDUP, Bar
from tests.benchmarks.subject import EMBEDDED

CLIENTS = (1, 4, 16, 32)
TOKENS = 32


def serving() -> list[Bar]:
    """Print answers a second by number of clients and return the bars; always on the embedded model."""
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
    print(f"Bundled questions, answers of {TOKENS} tokens at most, max_rows 16; answers a second of one run of each.\n")
    print(f"| clients | answers | {' | '.join(ways)} | guard adds |\n|{' --- |' * 5}", flush=True)
    rates: dict[tuple[str, int], float] = {}
    for clients in CLIENTS:
        asked = range(max(6, clients))
        for name, ask in ways.items():
            rates[name, clients] = _rate(model, ask, asked, clients)
        added = rates["scoring off", clients] / rates["guarded", clients] - 1
        shown = " | ".join(f"{rates[name, clients]:.2f}" for name in ways)
        print(f"| {clients} | {len(asked)} | {shown} | {added:.0%} |", flush=True)
    alone = [unscored(i) for i in range(16)]
    with model.shared(), ThreadPoolExecutor(16) as pool:
        same = sum(a == b for a, b in zip(alone, pool.map(unscored, range(16)), strict=True))
    print(f"\n{same} of {len(alone)} answers have the same token ids as alone.")
    speedup = rates["guarded", 16] / rates["guarded", 1]
    worst = rates["scoring off", 16] / rates["guarded", 16] - 1
    return [
        Bar("Answers a second of 16 clients, against one", speedup, "at least", SERVING_SPEEDUP, " times"),
        Bar("Added by the guard to an answer, 16 clients", worst, "at most", SERVING_ADDED, "%"),
    ]


def _rate(model: LocalModel, ask: Callable[[int], object], asked: Sequence[int], clients: int) -> float:
    with model.shared() if clients > 1 else nullcontext(), ThreadPoolExecutor(clients) as pool:
        start = time.perf_counter()
        list(pool.map(ask, asked))
        return len(asked) / (time.perf_counter() - start)
