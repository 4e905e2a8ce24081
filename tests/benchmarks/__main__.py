"""`make bench`: what scoring costs. Prints Markdown tables and, after each, the bars: measured value, met or not."""

from __future__ import annotations

import argparse

import torch

from tests.benchmarks.answers import grid
from tests.benchmarks.bars import print_bars
from tests.benchmarks.batch import batch
from tests.benchmarks.claims import claims
from tests.benchmarks.endpoints import endpoints
from tests.benchmarks.evidence import evidence
from tests.benchmarks.flops import flops
from tests.benchmarks.measure import Budget
from tests.benchmarks.memory import memory, memory_of
from tests.benchmarks.overhead import overhead
from tests.benchmarks.ray_rows import ray_rows
from tests.benchmarks.remote import remote
from tests.benchmarks.scale import assume, scale
from tests.benchmarks.serve_overhead import serve_overhead
from tests.benchmarks.serve_soak import serve_soak
from tests.benchmarks.serving import serving
from tests.benchmarks.subject import EMBEDDED, MODELS, command, header, load_subject

PARTS = ("answers", "batch", "claims", "evidence", "guard", "memory", "serving")
APART = ("memory-of", "serve_soak", "serve_overhead", "ray", "remote", "endpoints", "scale", "flops")


def main() -> None:
    options = _options()
    if options.threads:
        torch.set_num_threads(options.threads)
    if options.part == "memory-of":
        memory_of(options.model, options.prompts[0])
        return
    if options.part == "serve_soak":
        print_bars(serve_soak(options.seconds if options.timed else 600))
        return
    if options.part == "serve_overhead":
        print_bars(serve_overhead())
        return
    if options.part == "flops":
        print(f"    {command()}\n")
        flops()
        return
    if options.part == "scale":
        scale(assume(options.assume or ()))
        return
    if options.part == "remote":
        print(f"    {command()}\n")
        remote(options.data, options.limit)
        return
    if options.part == "endpoints":
        print(f"    {command()}\n")
        endpoints()
        return
    if options.part == "ray":
        print(f"    {command()}\n")
        print_bars(ray_rows())
        return
    budget = Budget(options.repetitions, options.seconds)
    subject = load_subject(options.model)
    print(header(subject, command()))
    for part in PARTS if options.part == "all" else (options.part,):
        print(f"## {part}\n")
        if part == "answers":
            bars = grid(subject, options.prompts, options.responses, budget)
        elif part == "batch":
            bars = batch(subject, budget)
        elif part == "claims":
            bars = claims(subject, budget)
        elif part == "evidence":
            bars = evidence(subject, budget)
        elif part == "guard":
            bars = overhead(budget)
        elif part == "serving":
            bars = serving(options.repeats, full=options.full)
        else:
            bars = memory(options.model)
        print_bars(bars)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m tests.benchmarks", description=__doc__)
    parser.add_argument(
        "part",
        nargs="?",
        default="all",
        choices=("all", *PARTS, *APART),
        help=f"default: all of them but {', '.join(APART)}",
    )
    parser.add_argument(
        "--model", default=EMBEDDED, choices=MODELS, help=f"default: {EMBEDDED}; the other one needs CUDA"
    )
    parser.add_argument("--assume", action="append", metavar="NAME=VALUE", help="scale: another assumption; repeatable")
    parser.add_argument("--full", action="store_true", help="the whole grid, with more time for each cell")
    parser.add_argument("--prompts", type=_numbers, help="prompt lengths, tokens, such as 50,1000,8000")
    parser.add_argument("--responses", type=_numbers, help="response lengths, tokens, such as 8,32,128,512")
    parser.add_argument("--repetitions", type=int, help="runs of a cell, at most")
    parser.add_argument(
        "--seconds", type=float, help="time for one column of a cell; it is measured at least once; of serve_soak 600"
    )
    parser.add_argument("--data", nargs="*", default=["bundled"], help="of remote: files of questions, or bundled")
    parser.add_argument("--limit", type=int, help="of remote: questions of each, drawn; 100")
    parser.add_argument("--threads", type=int, help="default: what torch takes")
    options = parser.parse_args()
    options.prompts = options.prompts or ([50, 1000, 8000] if options.full else [50, 1000])
    options.responses = options.responses or ([8, 32, 128, 512] if options.full else [8, 32, 128])
    options.repeats = options.repetitions or 3  # of serving
    options.timed = options.seconds is not None
    options.repetitions = options.repetitions or (7 if options.full else 5)
    options.seconds = options.seconds or (60.0 if options.full else 15.0)
    return options


def _numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


if __name__ == "__main__":
    main()
