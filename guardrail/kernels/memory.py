"""Work on rows together, and on fewer of them when memory runs out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import torch

from guardrail.errors import GuardrailError, ModelError

Row = TypeVar("Row")
Result = TypeVar("Result")


def halve_on_out_of_memory(
    work: Callable[[Sequence[Row]], list[Result]], rows: Sequence[Row], too_big: Callable[[Row], GuardrailError]
) -> list[Result]:
    """`work(rows)`, one result a row, in order; what does not fit into memory is halved and tried again.

    Raises `too_big(row)` for a single row that does not fit.
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
                raise too_big(group[0]) from error
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
    signs = ("can't allocate memory", "out of memory", "CUBLAS_STATUS_ALLOC_FAILED")
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in signs)


def too_large(what: str, advice: str) -> ModelError:
    """The error of a single row that does not fit: `what` was tried, and what to do about it."""
    return ModelError(f"{what} ran out of memory; {advice}")
