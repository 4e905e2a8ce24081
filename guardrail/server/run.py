"""The process: a socket, the model loaded beside it, signals, draining."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from types import FrameType

import uvicorn

from guardrail.errors import DataError, GuardrailError
from guardrail.server.app import Server, create_app
from guardrail.server.gate import LOG
from guardrail.server.service import Service


def listen(host: str, port: int) -> socket.socket:
    """A socket on an address. Raises `DataError` where it is taken, or is none of this machine's."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        taken = socket.socket(family, socket.SOCK_STREAM)
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(address)
        taken.listen(2048)
    except OSError as error:
        raise DataError(f"cannot listen on {host}:{port}: {error.strerror}; take another --port") from error
    return taken


class _Process(uvicorn.Server):
    """The first signal drains: what is admitted ends, nothing new begins. The second one stops."""

    def __init__(self, config: uvicorn.Config, server: Server) -> None:
        super().__init__(config)
        self._own = server
        self._loop: asyncio.AbstractEventLoop | None = None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self._own.status == "draining" or self._loop is None:
            self.force_exit = self.should_exit = True
            return
        self._own.status = "draining"
        self._loop.call_soon_threadsafe(lambda: asyncio.ensure_future(self.drain()))

    async def drain(self) -> None:
        await self._own.slots.idle()
        self.should_exit = True


def serve(server: Server, taken: socket.socket, load: Callable[[], Service]) -> None:
    """Serve until a signal ends it. load: makes the service; the address answers meanwhile that it loads.

    Raises what `load` raised.
    """
    failed: list[BaseException] = []

    async def begin() -> None:
        try:
            server.service = await asyncio.to_thread(load)
            if server.status == "loading":
                server.status = "ready"
                LOG.info('{"status": "ready"}')
        except BaseException as error:
            failed.append(error)
            server.status = "failed"
            process.should_exit = True

    def reread() -> None:
        try:
            if server.service is not None:
                server.service.reload()
                LOG.info('{"policies": "read again"}')
        except GuardrailError as error:
            LOG.error(f"the policies stay as they were: {error}")

    @asynccontextmanager
    async def lifespan(_: object) -> AsyncIterator[None]:
        loop = asyncio.get_running_loop()
        process._loop = loop
        with suppress(NotImplementedError, AttributeError, RuntimeError, ValueError):  # no such signal on Windows
            loop.add_signal_handler(signal.SIGHUP, lambda: loop.run_in_executor(None, reread))
        loading = asyncio.create_task(begin())
        yield
        loading.cancel()

    app = create_app(server, lifespan=lifespan)
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        h11_max_incomplete_event_size=server.settings.max_headers * 2,
        http="h11",
    )
    process = _Process(config, server)
    if not LOG.handlers:
        LOG.addHandler(logging.StreamHandler(sys.stderr))
        LOG.setLevel(logging.INFO)
        LOG.propagate = False
    process.run(sockets=[taken])
    if failed:
        raise failed[0]
