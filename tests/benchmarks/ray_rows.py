"""Rows shared among workers on Ray: how much faster two are than one, and what is left of a run whose workers are killed."""

from __future__ import annotations

import json
import os
import statistics
import tempfile
import time
from functools import partial
from pathlib import Path

import torch

from guardrail import load_model
from guardrail.data import load_questions
from guardrail.datasets.questions import QuestionRow
from guardrail.grading import get_grader
from guardrail.model.local import LocalModel
from guardrail.runs.asking import Asking, RunOptions
from guardrail.runs.cluster import Cluster
from guardrail.runs.collect import collect
from guardrail.runs.prompts import DIRECT
from guardrail.runs.ray_workers import RayWorkers
from tests.benchmarks.bars import WORKERS, Bar
from tests.benchmarks.serve_soak import save_model
from tests.benchmarks.subject import EMBEDDED
from tests.helpers.ray_processes import Killer

QUESTIONS, TOKENS, BATCH, REPETITIONS = 32, 8, 2, 3
ROWS, EVERY = 10_000, 20.0


def ray_rows() -> list[Bar]:
    """Print both tables, and return the bars."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        return [*_speed(), *_killed(Path(folder))]


def _speed() -> list[Bar]:
    load = partial(load_model, EMBEDDED, device="cpu")
    local = load()
    questions = [QuestionRow(q.question, q.answers) for q in load_questions("heldout")[:QUESTIONS]]
    ways = {
        "1 worker": RayWorkers(Cluster("local", workers=1), load, local, print),
        "2 workers": RayWorkers(Cluster("local", workers=2), load, local, print),
    }
    _connect(3)
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for repetition in range(REPETITIONS + 1):
        asked = questions if repetition else questions[: 4 * BATCH]  # at first, models are loaded
        for name, workers in ways.items():
            taken, _ = _collected(
                local, asked, Asking(DIRECT, None, TOKENS), RunOptions(None, batch_size=BATCH, workers=workers)
            )
            if repetition:
                seconds[name].append(taken)
    ratios = [one / two for one, two in zip(seconds["1 worker"], seconds["2 workers"], strict=True)]
    print(
        f"{QUESTIONS} questions to {EMBEDDED}, at most {TOKENS} tokens, batches of {BATCH}, one thread each; "
        f"{REPETITIONS} runs.\n"
    )
    print("| | seconds, median (all) | answers a second |\n| --- | --- | --- |")
    for name, taken in seconds.items():
        middle = statistics.median(taken)
        print(f"| {name} | {middle:.1f} ({', '.join(f'{x:.1f}' for x in taken)}) | {QUESTIONS / middle:.2f} |")
    print()
    shown = ", ".join(f"{ratio:.2f}" for ratio in ratios)
    return [
        Bar("Two workers of one thread, against one", statistics.median(ratios), "at least", WORKERS, " times", shown)
    ]


def _killed(folder: Path) -> list[Bar]:
    load = partial(load_model, str(save_model(folder / "model")), device="cpu")
    local = load()
    rows = [QuestionRow(f"What is number {i}?", (f"the number {i}",)) for i in range(ROWS)]
    asking, files = Asking("{question}", None, 4), {name: folder / f"{name}.jsonl" for name in ("here", "killed")}
    alone, _ = _collected(local, rows, asking, RunOptions(files["here"]))
    told: list[str] = []
    workers = RayWorkers(Cluster("local", workers=2), load, local, told.append)
    killer = Killer(EVERY)
    killer.start()
    shared, lost = _collected(local, rows, asking, RunOptions(files["killed"], workers=workers))
    killer.stop()
    keys = [json.loads(line)["key"] for line in files["killed"].read_text(encoding="utf-8").splitlines()[1:]]
    same = files["here"].read_bytes() == files["killed"].read_bytes()
    print(
        f"{ROWS:,} questions to a tiny random model, at most 4 tokens, batches of 16, two workers, one killed every "
        f"{EVERY:g} s.\n"
    )
    died = sum(line.startswith("a worker died") for line in told)
    print("| | seconds | workers killed | of them at work | rows in the file | different ones | left out | same file |")
    print("|" + " --- |" * 8)
    print(f"| this process | {alone:.0f} | - | - | {ROWS} | {ROWS} | 0 | |")
    counts = f"{killer.killed} | {died} | {len(keys)} | {len(set(keys))} | {lost} | {'yes' if same else 'no'}"
    print(f"| 2 workers | {shared:.0f} | {counts} |\n")
    return [
        Bar("Rows of a run whose workers are killed", len(set(keys)), "at least", ROWS),
        Bar("Rows that are there twice, or were left out", len(keys) - len(set(keys)) + lost, "at most", 0),
        Bar("Workers that were killed", died, "at least", 2),
    ]


def _collected(local: LocalModel, rows: list[QuestionRow], asking: Asking, options: RunOptions) -> tuple[float, int]:
    """Seconds, and how many rows were left out."""
    start = time.perf_counter()
    answers = collect(local, rows, get_grader("alias"), asking, options)
    return time.perf_counter() - start, answers.lost


def _connect(cpus: int) -> None:
    """One cluster for all of the pools; its workers are as nice as this process, where Ray's own default is 15."""
    import ray

    os.environ.setdefault("RAY_worker_niceness", str(os.nice(0)))
    ray.init("local", num_cpus=cpus + 2, include_dashboard=False, log_to_driver=False, object_store_memory=200 * 2**20)
