"""Time, spread and peak memory of one piece of work. Knows nothing about models."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import torch

from guardrail.kernels.memory import is_out_of_memory
from guardrail.runs.cost import peak_extra, seconds, status

__all__ = ["Budget", "Column", "bounded_memory", "megabytes", "milliseconds", "number", "peak_extra", "room", "spread"]

_RESERVE = 3 * 10**9  # left to everything else that runs
_STATUS = Path("/proc/self/status")


@dataclass(frozen=True, slots=True)
class Budget:
    """How often a cell is measured: at most `repetitions` times, and at least once, within about `seconds`."""

    repetitions: int
    seconds: float


@dataclass(slots=True)
class Column:
    """One kind of work, run once a round until its budget is used up; `work` gives milliseconds by name."""

    work: Callable[[], Mapping[str, float]]
    budget: Budget
    values: dict[str, list[float]] = field(default_factory=dict)
    spent: float = 0.0
    runs: int = 0
    why_not: str = ""

    @property
    def wanted(self) -> bool:
        if self.why_not or self.runs >= self.budget.repetitions:
            return False
        return not self.runs or self.spent / self.runs * (self.runs + 1) <= self.budget.seconds

    def run(self) -> None:
        start = time.perf_counter()
        try:
            with bounded_memory():
                taken = self.work()
        except Exception as error:
            if not _out_of_memory(error):
                raise
            self.why_not = "does not fit (an allocation failed)"
            return
        self.spent += time.perf_counter() - start
        self.runs += 1
        for name, ms in taken.items():
            self.values.setdefault(name, []).append(ms)

    def warm_up(self) -> None:
        """One run that does not count, unless it is so slow that another one would use up the budget."""
        self.run()
        if not self.why_not and self.spent <= self.budget.seconds / 2:
            self.values, self.spent, self.runs = {}, 0.0, 0

    def cell(self, name: str, unit: str = "") -> str:
        return self.why_not or spread(self.values[name], self.budget.repetitions, unit)


def milliseconds(work: Callable[[], object], device: torch.device) -> float:
    """Wall time of `work`, with everything that it put on the device finished."""
    return seconds(work, device) * 1000


def spread(values: Sequence[float], wanted: int = 0, unit: str = "") -> str:
    """Median (lower to upper quartile); the number of runs where it is not the number wanted."""
    middle = statistics.median(values)
    few = [] if len(values) >= wanted else [f"{len(values)} run{'s' if len(values) > 1 else ''}"]
    if len(values) > 1:
        low, _, high = statistics.quantiles(values, n=4, method="inclusive")
        few.insert(0, f"{number(low)} to {number(high)}")
    return f"{number(middle)}{unit} ({', '.join(few)})" if few else f"{number(middle)}{unit}"


def number(x: float) -> str:
    """About three significant digits, no exponent."""
    if abs(x) >= 100:
        return f"{x:.0f}"
    return f"{x:.1f}" if abs(x) >= 10 else f"{x:.2f}"


def megabytes(count: float | None) -> str:
    return "" if count is None else number(count / 1e6)


def room(device: torch.device) -> int | None:
    """Bytes that may still be taken, some left to everything else; None where the system does not tell."""
    if device.type == "cuda":
        free = torch.cuda.mem_get_info(device)[0]
        cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return free + cached - _RESERVE
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    left = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    with suppress(OSError, ValueError):  # "max" is no number
        group = Path("/sys/fs/cgroup")
        limit, used = (int((group / name).read_text()) for name in ("memory.max", "memory.current"))
        left = min(left, limit - used)
    return left - _RESERVE


@contextmanager
def bounded_memory() -> Iterator[None]:
    """Inside, an allocation beyond the machine's memory fails with an exception, instead of getting this process killed."""
    left = room(torch.device("cpu"))
    if left is None or not _STATUS.exists():
        yield
        return
    import resource  # not on Windows

    before = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (status("VmData") + max(0, left), before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, before)


def _out_of_memory(error: BaseException) -> bool:
    return is_out_of_memory(error) or (error.__cause__ is not None and is_out_of_memory(error.__cause__))
