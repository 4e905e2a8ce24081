"""What memory a process gains once each of 16 threads has scored, with heaps of their own and with shared ones.

    python -m tests.benchmarks.heaps

The work is the same: 8 answers of a tiny random model, scored by one thread after the other. What `malloc_trim` gives back was
free, and kept by the heaps. Linux with glibc.
"""

from __future__ import annotations

import ctypes
import gc
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import torch

from guardrail.runs.cost import status
from guardrail.scoring.hybridgrad import HybridGradScorer
from guardrail.server.heaps import share_heaps
from guardrail.testing import tiny_local_model

THREADS = 16


def main() -> None:
    """Print a row for each way, each measured in a process of its own."""
    if sys.argv[1:]:
        _measure(shared=sys.argv[1] == "shared")
        return
    print(f"| heaps | MiB, one thread | {THREADS} threads | trimmed |\n|{' --- |' * 4}", flush=True)
    for way in ("own", "shared"):
        subprocess.run([sys.executable, "-m", "tests.benchmarks.heaps", way], check=True)


def _measure(*, shared: bool) -> None:
    torch.set_num_threads(1)
    if shared:
        share_heaps()
    local = tiny_local_model(vocab_size=261, max_position_embeddings=2048)
    scorer = HybridGradScorer(local)
    traces = [
        local.generate(f"Number {i}, please.", max_new_tokens=24, keep=scorer.keep, temperature=1.0, seed=i)
        for i in range(8)
    ]
    for _ in range(11):
        scorer.score_traces(traces)
    found = [_resident()]
    gate = threading.Barrier(THREADS)

    def score(_: int) -> None:
        gate.wait()
        for _ in range(2):
            with local.lock:
                scorer.score_traces(traces)

    with ThreadPoolExecutor(THREADS) as pool:
        for _ in range(2):
            list(pool.map(score, range(THREADS)))
        found.append(_resident())
        ctypes.CDLL(None).malloc_trim(0)
        found.append(_resident())
    print(f"| {'shared' if shared else 'own'} | {' | '.join(f'{mib:.0f}' for mib in found)} |", flush=True)


def _resident() -> float:
    gc.collect()
    return status("VmRSS") / 2**20


if __name__ == "__main__":
    main()
