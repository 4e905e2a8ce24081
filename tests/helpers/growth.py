"""Does a step take more than linear time? Asked in a way that a busy machine does not answer."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable

TRIES = 5
QUICK = 0.02  # seconds; below that what is measured is noise, and nobody waits for it


def seconds(step: Callable[[], object], repeats: int = 1) -> float:
    """The least processor time of this thread for the step, in seconds, without the collector's walks over all objects."""
    least = float("inf")
    enabled = gc.isenabled()
    gc.disable()
    try:
        for _ in range(repeats):
            began = time.thread_time()
            step()
            least = min(least, time.thread_time() - began)
    finally:
        if enabled:
            gc.enable()
    return least


def superlinear(short: Callable[[], object], long: Callable[[], object], times: int, *, quick: float = QUICK) -> bool:
    """Whether a step takes more than linear time.

    Args:
        short: The step on a short input.
        long: The step on an input that is `times` as long.
        times: At least 8, so that linear and quadratic time lie far enough apart for noise.
        quick: Seconds below which `long` is linear whatever `short` takes.

    Returns:
        True where `long` takes more than `times ** 1.5` as long as `short`, half way between linear and quadratic, in all
        of five tries. The least times so far are compared: others on the machine can only lengthen a time.
    """
    assert times >= 8, times
    of_short = of_long = float("inf")
    for _ in range(TRIES):
        of_long = min(of_long, seconds(long))
        if of_long < quick:
            return False
        of_short = min(of_short, seconds(short, 3))
        if of_long <= times**1.5 * of_short:
            return False
    return True
