"""How many heaps the threads of this process allocate from."""

from __future__ import annotations

import ctypes
import sys
from contextlib import suppress

_M_ARENA_MAX = -8  # of glibc's mallopt
_HEAPS = 2


def share_heaps() -> None:
    """Let threads that start from now on share two heaps of glibc, which else makes up to eight for each core.

    Each heap keeps the most that its threads have needed. Whoever comes first scores for all who wait, so in a server each of
    its threads needs as much once, and the process grows until each has; since the model's passes take turns, heaps of their
    own gain the threads nothing. Elsewhere than on Linux with glibc this does nothing.
    """
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):  # another C library has no such function
            ctypes.CDLL(None).mallopt(_M_ARENA_MAX, _HEAPS)
