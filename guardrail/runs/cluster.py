"""Where the rows of a run are worked on: here, or by workers elsewhere. Knows nothing about what they do with a row."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from math import isfinite
from typing import Protocol, TypeVar

from guardrail.errors import DataError, MissingExtraError

Row = TypeVar("Row")
Found = TypeVar("Found")

LOCAL = "local"
"""The address of a cluster that is started on this machine, and ends with the process."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """Workers on Ray that each hold the model, and share the rows of one command.

        guardrail.evaluate("smollm2-135m", "bundled", cluster=guardrail.Cluster("local", workers=2))

    Attributes:
        address: "local" starts Ray on this machine; "auto" or HOST:PORT joins a cluster that runs.
        workers: Processes with a model of their own.
        cpus: Threads of each.
        gpus: GPUs of each; a fraction shares one.
        attempts: Workers that may die on one row before it is left out.
    """

    address: str = LOCAL
    workers: int = 2
    cpus: int = 1
    gpus: float = 0.0
    attempts: int = 3

    def __post_init__(self) -> None:
        for name in ("workers", "cpus", "attempts"):
            if (value := getattr(self, name)) < 1:
                raise DataError(f"{name} is {value}; it must be at least 1")
        if not (isfinite(self.gpus) and self.gpus >= 0):
            raise DataError(f"gpus is {self.gpus}; give how many each worker has, such as 1 or 0.5, or 0 for none")
        if self.gpus > 1 and self.gpus != int(self.gpus):
            raise DataError(f"gpus is {self.gpus}; more than one must be a whole number")
        if not self.address.strip():
            raise DataError("the address of the cluster is empty; give local, auto or HOST:PORT")
        if find_spec("ray") is None:
            raise MissingExtraError("a cluster needs the package ray; run: pip install 'hybridgrad-guardrail[ray]'")


@dataclass(frozen=True, slots=True)
class Lost:
    """What became of a row on which every worker died. reason: in words, for the record."""

    reason: str


class Workers(Protocol):
    """Whatever works on rows in place of this process."""

    def each(
        self, work: Callable[[list[Row]], Sequence[Found]], batches: Iterable[list[Row]], named: Callable[[Row], str]
    ) -> Iterator[tuple[list[Row], Sequence[Found | Lost]]]:
        """Every batch with what `work` found of its rows, in the order of the batches, each row exactly once.

        work: has no effect but its result; it may hold the model, which is then the worker's own. named: a row, for people.
        Raises what `work` raises of guardrail's errors, as it would here.
        """
        ...


def each_here(
    work: Callable[[list[Row]], Sequence[Found]], batches: Iterable[list[Row]]
) -> Iterator[tuple[list[Row], Sequence[Found]]]:
    """The same in this process, one batch after the other."""
    for batch in batches:
        yield batch, work(batch)
