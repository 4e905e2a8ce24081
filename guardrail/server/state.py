"""What the routes share: the service, its slots, its metrics, and how a request's work is done in one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

from fastapi import Request
from langchain_core.messages.ai import UsageMetadata

from guardrail.deadlines import Deadline
from guardrail.errors import DeadlineError, GuardrailError
from guardrail.server.errors import ApiError, internal_error
from guardrail.server.metrics import Metrics
from guardrail.server.queue import Slots
from guardrail.server.service import Service
from guardrail.server.settings import ServerSettings

T = TypeVar("T")
Status = Literal["loading", "ready", "draining", "failed"]


def _nothing() -> None:
    """What cannot be ended before its time is waited for."""


@dataclass(slots=True)
class Server:
    """What the routes share. service: None until the model is loaded."""

    settings: ServerSettings
    service: Service | None = None
    status: Status = "loading"
    metrics: Metrics = field(default_factory=Metrics)
    slots: Slots = field(init=False)
    tasks: set[asyncio.Task[Any]] = field(default_factory=set)

    def __post_init__(self) -> None:
        if self.settings.late is not None and self.settings.late.webhooks is not None:
            self.settings.late.webhooks.on_outcome = self.metrics.webhook
        self.slots = Slots(self.settings.slots, self.settings.queue, self.metrics)

    @property
    def state(self) -> Status:
        """The status; `failed` also where the thread that generates for all of them has ended."""
        sharing = None if self.service is None else self.service.model.sharing
        return "failed" if self.status == "ready" and sharing is not None and not sharing.alive else self.status

    def ready(self) -> Service:
        """The service. Raises `ApiError` (503) while there is none."""
        if (state := self.state) != "ready" or self.service is None:
            raise ApiError(503, state, f"the server is {state}", retry_after=5)
        return self.service

    def timeout(self, request: Request, asked: float | None) -> float | None:
        """Seconds that a request has. Raises `ApiError`."""
        header = request.headers.get("x-request-timeout")
        if asked is None and header is not None:
            with suppress(ValueError):
                asked = float(header)
            if asked is None or not 0 < asked < 86_400:
                raise ApiError(400, "invalid_value", "it is a number of seconds, above 0", param="X-Request-Timeout")
        return self.settings.timeout if asked is None else asked

    async def work(
        self,
        request: Request,
        deadline: Deadline | None,
        do: Callable[[], T],
        abandon: Callable[[], None] = _nothing,
        early: asyncio.Future[T] | None = None,
    ) -> T:
        """Do work in a slot. A client that hangs up abandons it; the slot is free once the work has ended.

        Args:
            request: Whose it is.
            deadline: Until when a slot is waited for.
            do: The work, in a thread.
            abandon: Ends it before its time.
            early: What the client waits for, where that is less than the whole work: from then on nothing abandons it.

        Returns:
            What the work, or `early`, came to.

        Raises:
            ApiError: 429 where too many wait, 499 for a client that has gone, and 500 for what went wrong at work: the
                message of such an error may quote what the model said or what was retrieved, so nothing of it is told.
            DeadlineError: It was not done in time.
        """

        async def inside() -> T:
            async with self.slots.slot(deadline):
                return await self.slots.run(do, abandon)

        task, gone = self.spawn(inside()), asyncio.create_task(_hung_up(request))
        waited_for: set[asyncio.Future[Any]] = {task, gone} if early is None else {task, gone, early}
        try:
            await asyncio.wait(waited_for, return_when=asyncio.FIRST_COMPLETED)
            if early is not None and early.done():
                return early.result()
            if not task.done():
                raise ApiError(499, "client_closed_request", "the client has hung up")
            return await task
        except (ApiError, DeadlineError):
            raise
        except GuardrailError as error:
            request.state.error = type(error).__name__
            raise internal_error(request.state.request_id) from error
        finally:
            gone.cancel()
            if early is None or not early.done():
                task.cancel()

    def spawn(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """A task that lives until it is done, whether or not anybody waits for it."""
        task = asyncio.create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[Any]) -> None:
        self.tasks.discard(task)
        if not task.cancelled():
            task.exception()  # seen

    def note(self, request: Request, metadata: dict[str, Any]) -> None:
        """Count a verdict."""
        self.metrics.verdict(metadata)
        request.state.action = metadata["action"]

    def charge(self, request: Request, usage: UsageMetadata) -> None:
        """Count the tokens that a request has used, whatever came of it. For the thread that works on it."""
        self.metrics.used(usage["input_tokens"], usage["output_tokens"])
        request.state.tokens = usage["total_tokens"]
        if charge := getattr(request.state, "charge", None):
            charge(usage["total_tokens"])


async def _hung_up(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
