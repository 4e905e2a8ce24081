"""A disk without room, as far as this process can tell. Not a test."""

from __future__ import annotations

import resource
from contextlib import contextmanager


@contextmanager
def full_disk(size):
    """No file of this process grows beyond so many bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
