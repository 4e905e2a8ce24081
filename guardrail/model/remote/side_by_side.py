"""Requests that run at the same time, each in the context of whoever asks: a deadline holds for all of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import TypeVar

from guardrail.deadlines import check_deadline

T = TypeVar("T")


def side_by_side(works: Sequence[Callable[[], T]], most: int) -> list[T]:
    """What each gives, so many at a time, in order. Raises what the first of them raises."""
    check_deadline()
    if len(works) < 2:
        return [work() for work in works]
    with ThreadPoolExecutor(min(most, len(works)), "guardrail-remote") as pool:
        futures = [pool.submit(copy_context().run, work) for work in works]
        try:
            return [future.result() for future in futures]
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
