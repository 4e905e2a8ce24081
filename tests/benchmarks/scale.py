"""What a thousand GPUs would score a day: arithmetic from stated assumptions. Nothing here is measured.

python -m tests.benchmarks scale --assume price=2 --assume reached=0.5
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields

DAY = 86_400
GPUS = 1000


@dataclass(frozen=True, slots=True)
class Assumed:
    """A GPU and a row. bandwidth: of its memory, bytes/s. flops: dense bfloat16, a second. reached: share of either that plain
    transformers gets. batch: rows together. prompt, answer: tokens. price: US dollars an hour. weights: bytes of memory that
    are left for them on one GPU. step: seconds that a pass of a batch takes at least, whatever the model's size, since Python
    launches its kernels one by one."""

    bandwidth: float = 4.8e12
    flops: float = 0.99e15
    reached: float = 0.3
    batch: int = 16
    prompt: int = 60
    answer: int = 32
    price: float = 3.0
    weights: float = 100e9
    step: float = 0.02


@dataclass(frozen=True, slots=True)
class Size:
    """A model of this many parameters, two bytes each."""

    parameters: float
    layers: int
    width: int


SIZES = {
    "135M": Size(0.135e9, 30, 576),
    "1B": Size(1e9, 16, 2048),
    "8B": Size(8e9, 32, 4096),
    "70B": Size(70e9, 80, 8192),
}


def assume(given: Sequence[str]) -> Assumed:
    """The assumptions, some replaced, each as NAME=VALUE. Raises `ValueError` for another name or a number of 0 or less."""
    kinds = {field.name: type(field.default) for field in fields(Assumed)}
    values = {}
    for one in given:
        name, _, text = one.partition("=")
        if name not in kinds:
            raise ValueError(f"there is no assumption {name!r}; there are: {', '.join(kinds)}")
        values[name] = kinds[name](text)
        if not 0 < values[name] < math.inf:
            raise ValueError(f"{one} is not above 0, or not finite")
    return Assumed(**values)


def seconds_a_row(size: Size, given: Assumed) -> dict[str, float]:
    """GPU seconds of one row.

    generation: the prompt once, 2 operations a parameter and token, and a pass of the batch for each token, bound by reading
    the weights, by arithmetic or by launches. reading: one pass over prompt and answer, where the answer exists already.
    scoring: half of the layers over the answer and ten tokens of the prompt, forward and twice as much backward.
    """
    a_token = 2 * size.parameters / (given.flops * given.reached)
    step = max(2 * size.parameters / (given.bandwidth * given.reached), a_token * given.batch, given.step)
    launched = given.step / given.batch
    return {
        "generation": a_token * given.prompt + given.answer * step / given.batch,
        "reading": max(a_token * (given.prompt + given.answer), launched),
        "scoring": max(a_token * 1.5 * (given.answer + 10), 1.5 * launched),
    }


def copies(size: Size, given: Assumed) -> int:
    """GPUs that one copy of the weights takes."""
    return math.ceil(2 * size.parameters / given.weights)


def record(size: Size, given: Assumed) -> float:
    """Bytes of a row in a run file: SemGrad of half the layers at ten tokens, two states in base64, two numbers a token."""
    return size.layers / 2 * 10 * 21 + 2 * size.width * 4 * 4 / 3 + given.answer * 2 * 20 + 500


def scale(given: Assumed | None = None) -> None:
    """Print the table."""
    given = given or Assumed()
    print(f"{given}\n")
    print(
        "| model | GPUs a copy | generation, ms | scoring, ms | rows a day, millions | $ a million | run files, TB a day | "
        "answers that exist: rows a day, millions | $ a million |"
    )
    print("|" + " --- |" * 9)
    for name, size in SIZES.items():
        taken, gpus = seconds_a_row(size, given), copies(size, given)
        made, read = (gpus * (taken[first] + taken["scoring"]) for first in ("generation", "reading"))
        day, dollars = GPUS * DAY, given.price / 3600 * 1e6
        print(
            f"| {name} | {gpus} | {taken['generation'] * 1000:.1f} | {taken['scoring'] * 1000:.1f} | {day / made / 1e6:,.0f} | "
            f"{made * dollars:,.0f} | {day / made * record(size, given) / 1e12:.0f} | {day / read / 1e6:,.0f} | "
            f"{read * dollars:,.1f} |"
        )
