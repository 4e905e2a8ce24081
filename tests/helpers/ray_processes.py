"""The processes of a cluster's workers on this machine, to be killed."""

from __future__ import annotations

import threading
from contextlib import suppress

import psutil


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
