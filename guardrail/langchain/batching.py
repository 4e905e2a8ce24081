"""Brings the inputs of one `batch` together, so that the model answers them in one pass. Knows nothing about models.

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
from guardrail.types import Verdict

Answer = Callable[[Sequence[Call]], Sequence[Verdict]]

_slot: ContextVar[Slot | None] = ContextVar("guardrail_slot", default=None)


class Gathering:
    """The inputs of one batch. answer: calls -> verdicts, in order. size: how many inputs there are. start: runs the work,
    here by default; async code gives what runs it beside the event loop.
    """

    def __init__(self, answer: Answer, size: int, start: Callable[[Callable[[], None]], object] | None = None) -> None:
        self._answer, self._missing, self._start = answer, size, start or _here
        self._lock = threading.Lock()
        self._waiting: list[tuple[Call, Future[Verdict]]] = []

    def join(self, call: Call) -> Future[Verdict]:
        """Hand in a call; its verdict comes once the others have arrived or left."""
        future: Future[Verdict] = Future()
        self._arrive((call, future))
        return future

    def leave(self) -> None:
        """Say that an input needs no answer."""
        self._arrive(None)

    def _arrive(self, handed_in: tuple[Call, Future[Verdict]] | None) -> None:
        with self._lock:
            self._missing -= 1
            if handed_in is not None:
                self._waiting.append(handed_in)
            last = self._missing == 0
        if last:
            self._start(self._run)

    def _run(self) -> None:
        """Answer all that wait. Where the batch fails, each is answered alone, so that an error meets its own input only."""
        waiting = [(call, future) for call, future in self._waiting if future.set_running_or_notify_cancel()]
        if not waiting:
            return
        try:
            verdicts = self._answer([call for call, _ in waiting])
        except Exception as error:
            if len(waiting) == 1:
                waiting[0][1].set_exception(error)
                return
            for call, future in waiting:
                self._alone(call, future)
            return
        except BaseException as error:
            for _, future in waiting:
                future.set_exception(error)
            raise
        for (_, future), verdict in zip(waiting, verdicts, strict=True):
            future.set_result(verdict)

    def _alone(self, call: Call, future: Future[Verdict]) -> None:
        try:
            future.set_result(self._answer([call])[0])
        except Exception as error:
            future.set_exception(error)


class Slot:
    """One input's place in a gathering: a context manager around its run, taken once by the model that it is for."""

    def __init__(self, gathering: Gathering, owner: object) -> None:
        self.gathering, self.owner = gathering, owner
        self.taken = False

    def __enter__(self) -> Slot:
        self._token = _slot.set(self)
        return self

    def __exit__(self, *_: object) -> None:
        _slot.reset(self._token)
        if not self.taken:
            self.taken = True
            self.gathering.leave()


def _here(work: Callable[[], None]) -> None:
    work()


def take_place(owner: object) -> Gathering | None:
    """The gathering that this run belongs to, if it is `owner`'s; once, for a retriever may ask the same model again."""
    slot = _slot.get()
    if slot is None or slot.taken or slot.owner is not owner:
        return None
    slot.taken = True
    return slot.gathering
