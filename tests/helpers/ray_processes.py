"""A small cluster on this machine, and the processes of its workers, to be killed."""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import psutil
import pytest
import torch


@contextmanager
def small_cluster(cpus: int = 4) -> Iterator[None]:
    """Ray on this machine, and one thread in this process, as the workers have."""
    import ray

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_worker_niceness", str(os.nice(0)))  # 15 else, and beside other tests they get nowhere
        for left in (2, 1, 0):  # beside much other work it may not be up within the half minute that Ray gives itself
            try:
                ray.init(
                    "local",
                    num_cpus=cpus,
                    include_dashboard=False,
                    log_to_driver=False,
                    object_store_memory=100 * 2**20,
                )
                break
            except Exception:
                ray.shutdown()
                if not left:
                    raise
    try:
        yield
    finally:
        ray.shutdown()
        torch.set_num_threads(threads)


def workers_of(pid: int | None = None) -> list[psutil.Process]:
    """The workers that a process started through Ray, itself by default; the oldest first."""
    found = []
    for child in psutil.Process(pid).children(recursive=True):
        with suppress(psutil.Error):
            if child.cmdline()[:1] and child.cmdline()[0].startswith("ray::Worker"):
                found.append(child)
    return sorted(found, key=lambda process: process.create_time())


class Killer(threading.Thread):
    """Kills a worker with -9 every so many seconds, the oldest one, until it is told to stop. killed: how many."""

    def __init__(self, every: float, pid: int | None = None) -> None:
        super().__init__(daemon=True)
        self._every, self._pid, self._stop_now = every, pid, threading.Event()
        self.killed = 0

    def run(self) -> None:
        while not self._stop_now.wait(self._every):
            for worker in workers_of(self._pid)[:1]:
                worker.kill()
                self.killed += 1

    def stop(self) -> None:
        self._stop_now.set()
        self.join()
