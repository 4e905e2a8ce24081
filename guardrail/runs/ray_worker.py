"""What runs in a worker's process: its own copy of the model, and the work that was sent, bound to it."""

from __future__ import annotations

from collections.abc import Callable
from operator import attrgetter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from guardrail.model.local import LocalModel

_local: LocalModel | None = None  # the worker's own; one a process


def parts_of(local: LocalModel) -> dict[str, Any]:
    """What of a model is never sent (`LoadedModel.stays`), by name: where it stood, the worker's own stands."""
    return {name: attrgetter(name)(local) if name else local for name in local.stays}


def own_part(name: str) -> Any:
    """What stands in place of a part that was not sent."""
    if _local is None:
        raise RuntimeError("work was unpacked before the model was loaded")
    return parts_of(_local)[name]


class Worker:
    """A model in a process of its own."""

    def __init__(self) -> None:
        self._sent: Any = None
        self._work: Callable[[list[Any]], list[Any]] | None = None

    def load(self, load: Callable[[], LocalModel], threads: int) -> dict[str, Any]:
        """Make the model, for so many threads of torch, and tell what must be the same everywhere: see `about`."""
        global _local
        import torch

        torch.set_num_threads(threads)
        _local = load()
        return about(_local)

    def do(self, sent: list[Any], rows: list[Any]) -> list[Any]:
        """What the work finds of these rows. sent: its reference, in a list so that it is fetched and unpacked once."""
        if self._work is None or self._sent != sent[0]:
            import ray

            self._sent, self._work = sent[0], ray.get(sent[0])
        return self._work(rows)


def about(local: LocalModel) -> dict[str, Any]:
    """What must be the same of every copy of a model: its identity, and its kind of device."""
    return {**local.identity.model_dump(exclude={"name"}), "device": local.device.type}
