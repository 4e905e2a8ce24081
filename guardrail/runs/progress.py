"""Lines of progress for whoever waits."""

from __future__ import annotations

import time
from collections.abc import Callable

from guardrail.waiting import seconds_since

Say = Callable[[str], None]
"""Called with one line before each slow step, and now and then during one."""


def counter(what: str, say: Say, every: float = 2.0) -> Callable[[int, int, float], None]:
    """Progress for long work: done of all, rate and time left, a line at most every `every` seconds."""
    last = time.perf_counter()

    def report(done: int, total: int, rate: float) -> None:
        nonlocal last
        if done < total and seconds_since(last) < every:
            return
        last = time.perf_counter()
        left = f", {(total - done) / rate:.0f} s left" if rate and done < total else ""
        say(f"{what}: {done} of {total}, {rate:.1f}/s{left}")

    return report
