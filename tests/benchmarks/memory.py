"""Whether the extra memory of scoring grows with the prompt; each length is measured in a process of its own."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from typing import Any

from tests.benchmarks.bars import MEMORY, Bar
from tests.benchmarks.measure import megabytes, peak_extra
from tests.benchmarks.subject import load_subject

PROMPTS = (100, 8000)
RESPONSE = 32
REPETITIONS = 3


def memory(model: str) -> list[Bar]:
    """Print the extra peak memory of scoring by prompt length, and return the bar."""
    print(
        f"Extra peak memory, MB, of scoring an answer of {RESPONSE} tokens; median of {REPETITIONS} after the first.\n"
    )
    print(
        "| prompt | scoring, first in the process | scoring, later | scoring from ids, later |\n|" + " --- |" * 4,
        flush=True,
    )
    found = [_in_a_child(model, prompt) for prompt in PROMPTS]
    if any(f["later"] is None for f in found):
        print("\nThis system does not tell a process's peak memory.")
        return []
    ratios = {name: found[-1][name] / found[0][name] for name in ("first", "later", "ids")}
    print(f"| ratio | {' | '.join(f'{x:.2f}' for x in ratios.values())} |", flush=True)
    name = f"extra memory of scoring, prompt of {PROMPTS[-1]:,} against {PROMPTS[0]}"
    note = f"first in the process {ratios['first']:.2f}; from ids, where the prompt is read again, {ratios['ids']:.2f}"
    return [Bar(name, ratios["later"], "at most", MEMORY, "", note)]


def _in_a_child(model: str, prompt: int) -> dict[str, Any]:
    command = [sys.executable, "-m", "tests.benchmarks", "memory-of", "--model", model, "--prompts", str(prompt)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr[-2000:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    print(f"| {prompt:,} | {' | '.join(megabytes(found[name]) for name in ('first', 'later', 'ids'))} |", flush=True)
    return found


def memory_of(model: str, prompt: int) -> None:
    """In the child: one line of JSON, bytes."""
    subject = load_subject(model)
    trace = subject.answer(subject.prompt(prompt), RESPONSE, keep=True)

    def score() -> object:
        return subject.scorer.score_trace(trace)

    def score_ids() -> object:
        return subject.scorer.score(trace.prompt_ids, trace.response_ids)

    first = peak_extra(score, subject.device)
    later = [peak_extra(score, subject.device) for _ in range(REPETITIONS)]
    ids = peak_extra(score_ids, subject.device)
    known = [x for x in later if x is not None]
    print(json.dumps({"first": first, "later": statistics.median(known) if known else None, "ids": ids}))
