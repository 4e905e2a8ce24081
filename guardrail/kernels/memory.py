"""Work on rows together, and on fewer of them when memory runs out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import torch

from guardrail.errors import GuardrailError, ModelError

Row = TypeVar("Row")
Result = TypeVar("Result")


def halve_on_out_of_memory(
    work: Callable[[Sequence[Row]], list[Result]],
    rows: Sequence[Row],
    too_big: Callable[[Row], Result | GuardrailError],
) -> list[Result]:
    """`work(rows)`, one result a row, in order; what does not fit into memory is halved and tried again.

    For a single row that does not fit it raises `too_big(row)` where that is an error, and else takes it as the row's result.
    """
    pending, done = [rows], []
    while pending:
        group = pending.pop(0)
        try:
            done.extend(work(group))
            continue
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            if len(group) == 1:
                instead = too_big(group[0])
                if isinstance(instead, GuardrailError):
                    raise instead from error
                done.append(instead)
                continue
        # outside the handler: the exception's traceback holds every tensor of the failed try
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        half = len(group) // 2
        pending[:0] = [group[:half], group[half:]]
    return done


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an allocation failed; on the CPU and MPS torch raises a RuntimeError that only its text tells from others."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    signs = (
        "can't allocate memory",
        "not enough memory",
        "out of memory",
        "status_alloc_failed",
        "invalid buffer size",
    )
    return isinstance(error, RuntimeError) and any(sign in str(error).lower() for sign in signs)


class TooLargeError(ModelError):
    """A single row does not fit into memory."""


def too_large(what: str, advice: str) -> TooLargeError:
    """The error of a single row that does not fit: `what` was tried, and what to do about it."""
    return TooLargeError(f"{what} ran out of memory; {advice}")
