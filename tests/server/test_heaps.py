"""Threads share heaps: counted by glibc itself, in a process of its own."""

from __future__ import annotations

import ctypes
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or not hasattr(ctypes.CDLL(None), "malloc_info"), reason="glibc's own"
)
COUNT = """
import ctypes, threading
from guardrail.server.heaps import share_heaps
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.fdopen.restype = ctypes.c_void_p, ctypes.c_void_p
if {shared}:
    share_heaps()
gate = threading.Barrier(13)
def allocate():
    gate.wait()
    libc.malloc(1000)
    gate.wait()
for _ in range(12):
    threading.Thread(target=allocate, daemon=True).start()
gate.wait()
gate.wait()
libc.malloc_info(0, ctypes.c_void_p(libc.fdopen(1, b"w")))
libc.fflush(None)
"""


def heaps(shared):
    said = subprocess.run(
        [sys.executable, "-c", COUNT.format(shared=shared)], capture_output=True, text=True, check=True
    )
    return said.stdout.count("<heap nr=")


def test_twelve_threads_share_two_heaps():
    assert heaps(False) > 2
    assert heaps(True) <= 2
