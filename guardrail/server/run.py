"""The process: a socket, the model loaded beside it, signals, draining."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager, suppress
from types import FrameType
from typing import TextIO

import uvicorn

from guardrail.errors import DataError, GuardrailError
from guardrail.server.app import create_app
from guardrail.server.heaps import share_heaps
from guardrail.server.log import LOG, log_line
from guardrail.server.service import Service
from guardrail.server.state import Server

KEEP_ALIVE = 75
"""Seconds that an idle connection stays open: longer than clients keep theirs (5 in httpx, and so in openai's). Where both let
go at the same time, a request that is on its way is lost."""


def listen(host: str, port: int) -> socket.socket:
    """A socket on an address. Raises `DataError` where it is taken, or is none of this machine's."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        taken = socket.socket(
            family, socket.SOCK_STREAM, socket.IPPROTO_TCP
        )  # else asyncio leaves Nagle on: 40 ms a reply
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(address)
        taken.listen(2048)
    except OSError as error:
        raise DataError(f"cannot listen on {host}:{port}: {error.strerror}; take another --port") from error
    return taken


class _Process(uvicorn.Server):
    """The first signal drains: what is admitted ends, nothing new begins. The second one stops, and so does one while
    nothing is admitted yet because the model loads.

    Threads in the midst of a pass, or of loading, end at no signal, and Python waits for them: only `os._exit` does not.
    """

    def __init__(self, config: uvicorn.Config, server: Server) -> None:
        super().__init__(config)
        self._own = server
        self.loop: asyncio.AbstractEventLoop | None = None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self._own.status == "ready" and self.loop is not None:
            self._own.status = "draining"
            self.loop.call_soon_threadsafe(lambda: self._own.spawn(self.drain()))
            return
        with suppress(Exception):  # a signal comes at any moment, also while the log is written
            LOG.warning(log_line(status="stopped", signal=signal.Signals(sig).name))
        os._exit(128 + sig)

    async def drain(self) -> None:
        LOG.info(log_line(status="draining", working=self._own.slots.working, waiting=self._own.slots.waiting))
        await self._own.slots.idle()
        if self._own.settings.late is not None:
            await asyncio.to_thread(self._own.settings.late.close)
        self.should_exit = True


class _Lines(logging.Formatter):
    """Lines of this server as they are; those of others as JSON, without the values in them, which may be texts."""

    def format(self, record: logging.LogRecord) -> str:
        if record.name == LOG.name:
            return record.getMessage()
        error = record.exc_info[0] if record.exc_info else None
        told = {} if error is None else {"error": error.__name__}
        return log_line(level=record.levelname, logger=record.name, event=str(record.msg)[:200], **told)


class _Quiet(logging.StreamHandler[TextIO]):
    """What it can't write is lost. Python's own would print the record, with the texts in it, on stderr."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging calls it so
        pass


def log_to_stderr() -> None:
    """Lines of JSON on stderr, from here and from uvicorn, without texts of requests."""
    handler = _Quiet(sys.stderr)
    handler.setFormatter(_Lines())
    levels = {
        LOG.name: logging.INFO,
        "guardrail": logging.WARNING,
        "uvicorn": logging.WARNING,
        "asyncio": logging.WARNING,
    }
    levels["ContinuousBatchingLogger"] = logging.ERROR  # transformers': its warnings hold token ids of prompts
    for name, level in levels.items():
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(level)
    threading.excepthook = _thread_ended


def _thread_ended(args: threading.ExceptHookArgs) -> None:
    name = "" if args.thread is None else args.thread.name
    LOG.error(log_line(thread=name, error=args.exc_type.__name__))  # its text may hold a model's


def serve(server: Server, taken: socket.socket, load: Callable[[], Service]) -> None:
    """Serve until a signal ends it. load: makes the service; the address answers meanwhile that it loads.

    The requests in the slots share the model's passes. Raises what `load` raised.
    """
    share_heaps()
    failed: list[BaseException] = []
    open_until_the_end = ExitStack()

    def loaded() -> Service:
        service = load()
        settings = server.settings
        open_until_the_end.enter_context(service.model.shared(settings.slots, server.metrics.timing, settings.driver))
        return service

    async def begin() -> None:
        try:
            server.service = await asyncio.to_thread(loaded)
            server.status = "ready"
            LOG.info(log_line(status="ready", shared=getattr(server.service.model.sharing, "merges", False)))
        except BaseException as error:
            failed.append(error)
            server.status = "failed"
            process.should_exit = True

    def reread() -> None:
        try:
            if server.service is not None:
                server.service.reload()
                LOG.info(log_line(policies="read again"))
        except GuardrailError as error:
            LOG.error(log_line(policies="stay as they were", error=type(error).__name__, message=str(error)))
        except Exception as error:
            LOG.error(log_line(policies="stay as they were", error=type(error).__name__))

    @asynccontextmanager
    async def lifespan(_: object) -> AsyncIterator[None]:
        process.loop = loop = asyncio.get_running_loop()
        with suppress(NotImplementedError, AttributeError, RuntimeError, ValueError):  # no such signal on Windows
            loop.add_signal_handler(signal.SIGHUP, lambda: loop.run_in_executor(None, reread))
        server.spawn(begin())
        yield
        await asyncio.to_thread(open_until_the_end.close)

    app = create_app(server, lifespan=lifespan)
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE,
        h11_max_incomplete_event_size=server.settings.max_headers * 2,
        http="h11",
    )
    process = _Process(config, server)
    log_to_stderr()
    process.run(sockets=[taken])
    if failed:
        raise failed[0]
