"""Time and peak memory of one piece of work."""

from __future__ import annotations

import ctypes
import gc
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import torch

from guardrail.waiting import seconds_since

_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")


def seconds(work: Callable[[], object], device: torch.device) -> float:
    """Wall time of `work`, with everything that it put on the device finished."""
    finish(device)
    start = time.perf_counter()
    work()
    finish(device)
    return seconds_since(start)


def peak_extra(work: Callable[[], object], device: torch.device) -> int | None:
    """Bytes that `work` took at its peak above the level before: of the device on CUDA, else of the process (resident).

    None where the system does not tell a process's peak (anything but Linux). Memory that other threads take meanwhile counts
    too, and on the CPU the work is slower than usual, since freed memory is given back before: time it by itself.
    """
    gc.collect()
    if device.type == "cuda":
        finish(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        work()
        finish(device)
        return torch.cuda.max_memory_allocated(device) - before
    with suppress(OSError, AttributeError):  # other C libraries than glibc have none
        ctypes.CDLL("libc.so.6").malloc_trim(0)  # or memory that was freed, but not returned, would hide what is taken
    try:
        _CLEAR.write_text("5")  # sets VmHWM to VmRSS
    except OSError:
        work()
        return None
    before = status("VmRSS")
    work()
    return status("VmHWM") - before


def status(name: str) -> int:
    """A figure of this process, bytes; Linux alone has it."""
    lines = _STATUS.read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))


def finish(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
