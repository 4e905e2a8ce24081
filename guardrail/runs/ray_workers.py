"""A pool of Ray actors that shares batches, and outlives the death of any of them. Needs the package ray.

An actor pool of our own and not Ray Data: that restarts a dead worker and gives it the same block again, for ever or until the
job fails, and can skip a block only for an exception. Here a row that kills its workers is found, named and left out.
"""

from __future__ import annotations

import logging
import os
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, cast

from guardrail.errors import ClusterError, GuardrailError
from guardrail.runs.cluster import LOCAL, Cluster, Found, Lost, Row
from guardrail.runs.ray_worker import Worker, about, own_part, parts_of

if TYPE_CHECKING:
    from guardrail.model.local import LocalModel
    from guardrail.runs.progress import Say

_STORE = 200 * 2**20  # bytes of shared memory for a cluster of our own: records are small
_AHEAD = 8  # batches for each worker that may be done before an earlier one is, since results keep their order
_TOGETHER = 2  # deaths of a whole batch before its rows go alone
_IN_A_ROW = 5  # rows lost without one done in between: the fault is no row's
_PATIENCE = 30.0  # seconds without a worker until somebody is told


@dataclass(slots=True, eq=False)
class _Part(Generic[Row]):
    """Rows that go to a worker together: a batch, or one of its rows. number: the batch's; at: where in it they begin."""

    number: int
    at: int
    rows: list[Row]
    deaths: int = 0


class RayWorkers:
    """Workers on Ray, as `guardrail.runs.cluster.Workers`; started with the first batch.

    Args:
        cluster: Where, and how many.
        load: Makes the model in each worker; it must be one that Ray can send.
        local: The same model here, which the workers' must equal.
        say: Told what goes wrong and is mended.
    """

    def __init__(self, cluster: Cluster, load: Callable[[], LocalModel], local: LocalModel, say: Say) -> None:
        self.cluster, self._load, self._local, self._say = cluster, load, local, say
        self._idle: list[Any] = []
        self._starting: dict[Any, Any] = {}
        self._failed_starts = 0

    def each(
        self, work: Callable[[list[Row]], Sequence[Found]], batches: Iterable[list[Row]], named: Callable[[Row], str]
    ) -> Iterator[tuple[list[Row], Sequence[Found | Lost]]]:
        """See `Workers.each`. Raises `ClusterError` where no worker can be had, or none survives a row."""
        job = _Job[Row, Found](batches, _AHEAD * self.cluster.workers)
        running: dict[Any, tuple[Any, _Part[Row]]] = {}
        sent, lost_in_a_row = None, 0
        while not job.finished:
            if sent is None:
                connect(self.cluster, self._say)
                sent = self._send(work)
            while self._idle and (part := job.next_part()) is not None:
                actor = self._idle.pop()
                running[actor.do.remote([sent], part.rows)] = actor, part
            self._keep_up(len(running))
            if ready := list(job.done()):  # handed on while the workers are at the next ones
                yield from ready
                continue
            for ref in self._wait([*running, *self._starting]):
                if ref in self._starting:
                    self._started(ref)
                    continue
                actor, part = running.pop(ref)
                found, death = self._result(ref, actor)
                if death is None:
                    job.put(part, found)
                    self._idle.append(actor)
                    lost_in_a_row = self._failed_starts = 0
                    continue
                part.deaths += 1
                self._say(f"a worker died ({death}); what it had is done again: {len(part.rows)} rows")
                if job.again(part, self.cluster.attempts):
                    continue
                reason = f"{part.deaths} workers died on it, the last of this: {death}"
                self._say(f"left out, {named(part.rows[0])}: {reason}")
                lost_in_a_row += 1
                if lost_in_a_row == _IN_A_ROW:
                    raise ClusterError(
                        f"{_IN_A_ROW} rows one after another killed every worker that took them, the last with: {death}. "
                        "This is no fault of a row: do the workers have memory enough for the model and a batch?"
                    )
                job.put(part, [Lost(reason)])

    def _keep_up(self, running: int) -> None:
        """As many workers as were asked for, those that are starting among them."""
        import ray

        make = ray.remote(num_cpus=self.cluster.cpus, num_gpus=self.cluster.gpus, max_restarts=0)(Worker)
        while len(self._idle) + len(self._starting) + running < self.cluster.workers:
            actor = make.remote()
            self._starting[actor.load.remote(self._load, self.cluster.cpus)] = actor

    def _wait(self, refs: list[Any]) -> list[Any]:
        import ray

        ready, _ = ray.wait(refs, num_returns=1, timeout=_PATIENCE)
        if not ready and len(refs) == len(self._starting):
            has = {name: ray.cluster_resources().get(name, 0.0) for name in ("CPU", "GPU")}
            self._say(
                f"waiting for a worker: each takes {self.cluster.cpus} CPUs and {self.cluster.gpus:g} GPUs, and the cluster "
                f"has {has['CPU']:g} and {has['GPU']:g}, all in all"
            )
        return list(ready)

    def _started(self, ref: Any) -> None:
        """Take a worker that is up into the pool, if its model is ours."""
        import ray

        actor = self._starting.pop(ref)
        try:
            theirs = ray.get(ref)
        except ray.exceptions.RayError as error:
            cause = _cause(error)
            if cause is not None:
                raise (
                    cause
                    if isinstance(cause, GuardrailError)
                    else ClusterError(f"a worker has no model: {_short(cause)}")
                ) from error
            self._failed_starts += 1
            if self._failed_starts >= self.cluster.attempts:
                raise ClusterError(
                    f"{self._failed_starts} workers died before their model was loaded, and none did any work, the last of "
                    f"this: {_short(error)}. Is there memory enough for a model each?"
                ) from error
            self._say(f"a worker died before its model was loaded ({_short(error)}); another one is started")
            return
        ours = about(self._local)
        if differing := [key for key in ours if ours[key] != theirs.get(key)]:
            key = differing[0]
            raise ClusterError(
                f"a worker has another model than this process: {key} {str(theirs.get(key))[:40]!r} there, "
                f"{str(ours[key])[:40]!r} here. Their numbers would not go together: give --device, --dtype and, for GPUs, "
                "--worker-gpus, start the command where the same kind of device is, and give the model by a name that means "
                "the same on every machine"
            )
        self._idle.append(actor)

    def _result(self, ref: Any, actor: Any) -> tuple[list[Any], str | None]:
        """What a worker found, or of what it died. One whose work raised what nobody meant is not trusted again."""
        import ray

        try:
            return ray.get(ref), None
        except ray.exceptions.RayError as error:
            cause = _cause(error)
            if isinstance(cause, GuardrailError):
                self._idle.append(actor)
                raise cause from error
            ray.kill(actor)
            return [], f"{type(cause).__name__}: {_short(cause)}" if cause is not None else _short(error)

    def _send(self, work: Callable[[list[Row]], Sequence[Found]]) -> Any:
        import ray

        with _not_sent(self._local):
            return ray.put(work)


def connect(cluster: Cluster, say: Say) -> None:
    """Start Ray here, or join the cluster. Raises `ClusterError` where there is none."""
    import ray

    if ray.is_initialized():
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    own: dict[str, Any] = {}
    if cluster.address == LOCAL:
        if hasattr(os, "nice"):
            os.environ.setdefault("RAY_worker_niceness", str(os.nice(0)))  # as this process; 15 is Ray's own
        own = {
            "num_cpus": cluster.workers * cluster.cpus,
            "object_store_memory": _STORE,
            "include_dashboard": False,
        }
        say(f"starting Ray with {cluster.workers} workers")
    else:
        say(f"joining the cluster at {cluster.address}")
    try:
        with warnings.catch_warnings():  # of what other versions of Ray will do
            warnings.simplefilter("ignore", FutureWarning)
            ray.init(cluster.address, logging_level=logging.ERROR, log_to_driver=False, **own)
    except Exception as error:  # Ray's own where a node did not start in time is no other class
        if cluster.address == LOCAL:
            raise ClusterError(
                f"Ray did not start here: {_short(error)}. On a machine with much other work, try again later"
            ) from error
        raise ClusterError(
            f"no Ray cluster at {cluster.address!r}: {_short(error)}. Give local, auto or HOST:PORT; "
            "`ray status` tells what runs"
        ) from error


class _Job(Generic[Row, Found]):
    """Batches on their way: which wait, what was found, and what can be handed on without leaving a gap."""

    def __init__(self, batches: Iterable[list[Row]], ahead: int) -> None:
        self._source = iter(batches)
        self._ahead = ahead
        self.waiting: deque[_Part[Row]] = deque()
        self._rows: dict[int, list[Row]] = {}
        self._found: dict[int, dict[int, Found | Lost]] = {}
        self._first = self._read = 0
        self._ended = False
        self._fill()

    @property
    def finished(self) -> bool:
        """Whether every batch was handed on."""
        return self._ended and not self._rows

    def next_part(self) -> _Part[Row] | None:
        """What a worker takes next, those first that were taken before; None where nothing may be taken yet."""
        self._fill()
        return self.waiting.popleft() if self.waiting else None

    def put(self, part: _Part[Row], found: list[Any]) -> None:
        for i, one in enumerate(found):
            self._found[part.number][part.at + i] = one

    def again(self, part: _Part[Row], attempts: int) -> bool:
        """Whether a part is tried again after a death: as it is, so that its numbers stay the same, and then row by row."""
        if len(part.rows) > 1:
            alone = [_Part(part.number, part.at + i, [row]) for i, row in enumerate(part.rows)]
            self.waiting.extendleft(reversed([part] if part.deaths < _TOGETHER else alone))
            return True
        if part.deaths < attempts:
            self.waiting.appendleft(part)
            return True
        return False

    def done(self) -> Iterator[tuple[list[Row], Sequence[Found | Lost]]]:
        """The batches that are complete and next in order."""
        while self._first in self._rows and len(self._found[self._first]) == len(self._rows[self._first]):
            rows, found = self._rows.pop(self._first), self._found.pop(self._first)
            self._first += 1
            yield rows, [found[i] for i in range(len(rows))]
            self._fill()

    def _fill(self) -> None:
        while not self.waiting and not self._ended and self._read - self._first < self._ahead:
            batch = next(self._source, None)
            if batch is None:
                self._ended = True
                return
            self._rows[self._read], self._found[self._read] = batch, {}
            self.waiting.append(_Part(self._read, 0, batch))
            self._read += 1


@contextmanager
def _not_sent(local: LocalModel) -> Iterator[None]:
    """Inside, what is sent holds none of the model's parts: the worker's own stand in their place."""
    import ray

    parts = {id(part): name for name, part in parts_of(local).items()}
    kinds = {type(part) for part in parts_of(local).values()}

    def name_of(part: Any) -> str:
        if id(part) not in parts:
            raise TypeError(f"a {type(part).__name__} of another model cannot be sent to a worker")
        return parts[id(part)]

    for kind in kinds:
        ray.util.register_serializer(kind, serializer=name_of, deserializer=own_part)
    try:
        yield
    finally:
        for kind in kinds:
            ray.util.deregister_serializer(kind)


def _cause(error: Exception) -> BaseException | None:
    """What the worker's own code raised; None where its process died."""
    found = getattr(error, "cause", None)
    return cast("BaseException | None", found) if isinstance(found, BaseException) else None


def _short(error: BaseException) -> str:
    """One line. Of a death, how the process ended, without identifiers before it and guesses behind it."""
    text = " ".join(str(error).split())
    text = text[text.find("Worker exit type:") if "Worker exit type:" in text else 0 :].split(" Some common causes")[0]
    return text[:200].rstrip(".") or type(error).__name__
