"""A lock that another thread holds."""

from __future__ import annotations

import threading
from contextlib import contextmanager


@contextmanager
def taken(lock, seconds=30):
    """Inside, another thread has the lock, for at most so long."""
    held, done = threading.Event(), threading.Event()

    def hold():
        with lock:
            held.set()
            done.wait(seconds)

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait(seconds)
    try:
        yield
    finally:
        done.set()
        thread.join()
