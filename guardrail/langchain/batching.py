"""Brings the inputs of one `batch` together, so that the model answers them in one pass.

Every input keeps its own run of `invoke`, with its callbacks, cache, run id and errors, as LangChain has it. Inside, each run
hands in its call and waits; the last one to arrive answers for all. A run that needs no answer (cached, failed before)
leaves, so that nobody waits for it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextvars import ContextVar

from guardrail.langchain.call import Call
from guardrail.langchain.streaming import Watch
from guardrail.types import Verdict

Answer = Callable[[Sequence[Call], Watch], Sequence[Verdict]]
"""The verdicts on calls with equal options, in order; the watch ends it once nobody waits."""

Start = Callable[[Callable[[], None]], object]


class BatchBarrier:
    """The inputs of one batch. answer: see `Answer`. size: how many inputs there are. start: runs the work, here by default;
    async code gives what runs it beside the event loop.
    """

    def __init__(self, answer: Answer, size: int, start: Start | None = None) -> None:
        self._answer, self._missing, self._start = answer, size, start or _here
        self._lock = threading.Lock()
        self._waiting: list[tuple[Call, Future[Verdict]]] = []
        self._wanted: set[Future[Verdict]] = set()
        self._watch = Watch()

    def join(self, call: Call) -> Future[Verdict]:
        """Hand in a call; its verdict comes once the others have arrived or left."""
        future: Future[Verdict] = Future()
        self._arrive((call, future))
        return future

    def leave(self) -> None:
        """Say that an input needs no answer."""
        self._arrive(None)

    def abandon(self, future: Future[Verdict] | None = None) -> None:
        """Say that nobody waits for this verdict any more, or for none at all. The last to go ends the pass on the model."""
        with self._lock:
            for _, waiting in self._waiting:
                if future is None or waiting is future:
                    waiting.cancel()  # without effect once its pass has begun
            begun = bool(self._wanted)
            self._wanted = set() if future is None else self._wanted - {future}
            if future is None or (begun and not self._wanted):
                self._watch.abandon()

    def _arrive(self, handed_in: tuple[Call, Future[Verdict]] | None) -> None:
        with self._lock:
            self._missing -= 1
            if handed_in is not None:
                self._waiting.append(handed_in)
            last = self._missing == 0
        if last:
            self._start(self._run)

    def _run(self) -> None:
        """Answer all that wait; those with other options, which a callback may have brought, in a pass of their own."""
        with self._lock:
            waiting = [(call, future) for call, future in self._waiting if future.set_running_or_notify_cancel()]
            self._wanted = {future for _, future in waiting}
        while waiting:
            options = waiting[0][0].options
            self._answer_alike([(call, future) for call, future in waiting if call.options == options])
            waiting = [(call, future) for call, future in waiting if call.options != options]

    def _answer_alike(self, waiting: Sequence[tuple[Call, Future[Verdict]]]) -> None:
        """Where the pass fails, each is answered alone, so that an error meets its own input only; not where an observer fails,
        which would be told of everything again."""
        self._watch.judged = False
        try:
            verdicts = self._answer([call for call, _ in waiting], self._watch)
        except Exception as error:
            if len(waiting) > 1 and not self._watch.abandoned and not self._watch.judged:
                for one in waiting:
                    self._answer_alike([one])
                return
            for _, future in waiting:
                future.set_exception(error)
        except BaseException as error:
            for _, future in waiting:
                future.set_exception(error)
            raise
        else:
            for (_, future), verdict in zip(waiting, verdicts, strict=True):
                future.set_result(verdict)


class BatchMember:
    """One input's place in a gathering: a context manager around its run, taken once by the model that it is for."""

    def __init__(self, gathering: BatchBarrier, owner: object) -> None:
        self.owner, self._gathering = owner, gathering
        self._taken = False
        self._future: Future[Verdict] | None = None

    def __enter__(self) -> BatchMember:
        self._token = _place.set(self)
        return self

    def __exit__(self, error: object, *_: object) -> None:
        _place.reset(self._token)
        if not self._taken:
            self._taken = True
            self._gathering.leave()
        elif error is not None and self._future is not None:
            self._gathering.abandon(self._future)

    def join(self, call: Call) -> Future[Verdict] | None:
        """The verdict to come; None the second time, for a retriever may ask the same model again within this run."""
        if self._taken:
            return None
        self._taken = True
        self._future = self._gathering.join(call)
        return self._future


class KnownPrompts:
    """The prompts of one `generate`, known before the first of them is asked for: a context manager around it."""

    def __init__(self, answer: Answer, calls: Sequence[Call], owner: object, start: Start | None = None) -> None:
        self.owner = owner
        self._calls = list(calls)
        self._gathering = BatchBarrier(answer, len(self._calls), start)
        self._lock = threading.Lock()
        self._begun = False
        self._open: list[tuple[Call, Future[Verdict]]] = []

    def __enter__(self) -> KnownPrompts:
        self._token = _place.set(self)
        return self

    def __exit__(self, error: object, *_: object) -> None:
        _place.reset(self._token)
        if error is not None:
            self._gathering.abandon()

    def join(self, call: Call) -> Future[Verdict] | None:
        """The verdict on one of the prompts; the first to ask has all of them answered. None for any other call."""
        with self._lock:
            begin, self._begun = not self._begun, True
        if begin:
            self._open = [(planned, self._gathering.join(planned)) for planned in self._calls]
        with self._lock:
            at = next((i for i, (planned, _) in enumerate(self._open) if planned == call), None)
            return None if at is None else self._open.pop(at)[1]


_place: ContextVar[BatchMember | KnownPrompts | None] = ContextVar("guardrail_place", default=None)


def join_batch(owner: object, call: Call) -> Future[Verdict] | None:
    """The verdict to come on `call` from the batch that this run belongs to; None if it belongs to none of `owner`'s."""
    place = _place.get()
    return None if place is None or place.owner is not owner else place.join(call)


def _here(work: Callable[[], None]) -> None:
    work()
