"""Replies as server-sent events: those that are held until their verdict, and those whose text leaves before it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any, TypeAlias

from fastapi import Request, Response
from fastapi.responses import StreamingResponse

from guardrail.langchain.answering import Answering
from guardrail.langchain.call import Call
from guardrail.langchain.reply import Reply
from guardrail.server import bodies
from guardrail.server.errors import told
from guardrail.server.requests import ChatRequest
from guardrail.server.state import Server

Emit: TypeAlias = Callable[[str], None]
"""Told each piece of text that may leave, from the thread that works."""
Whole: TypeAlias = Callable[[Emit], Coroutine[Any, Any, tuple[Reply, str]]]
"""All of a request's work; gives the reply, and the text that no piece held."""


async def held(
    ident: str,
    model: str,
    reply: Reply,
    body: ChatRequest,
    log_probs: dict[str, Any] | None = None,
    ids: bodies.TokenIds | None = None,
) -> AsyncIterator[dict[str, Any]]:
    """The chunks of a reply that is there, and the log-probabilities and ids of its tokens where they are wanted."""
    yield bodies.chunk(ident, model, {"role": "assistant", "content": ""})
    if reply.text:
        yield bodies.chunk(ident, model, {"content": reply.text}, log_probs=log_probs, ids=ids)
    for last in _last(ident, model, reply, body):
        yield last


def _last(ident: str, model: str, reply: Reply, body: ChatRequest) -> list[dict[str, Any]]:
    out = [bodies.chunk(ident, model, {}, reply)]
    if body.stream_options is not None and body.stream_options.include_usage:
        out.append(bodies.usage_chunk(ident, model, reply))
    return out


def judging(server: Server, request: Request, answering: Answering, call: Call) -> Whole:
    """The work of a stream whose text leaves before the whole verdict, which stands in its last chunk."""
    run = answering.stream(call)

    async def whole(emit: Emit) -> tuple[Reply, str]:
        def do() -> tuple[Reply, str]:
            try:
                with run:
                    for piece in run:
                        emit(piece)
                    reply = answering.reply(call, run.verdict, enforced=run.enforced, shown=run.shown)
                    return reply, run.rest  # read once, and last: what was read is out
            finally:
                server.charge(request, run.watch.usage)

        reply, rest = await server.work(request, call.deadline, do, run.abandon)
        server.note(request, reply.metadata)
        return reply, rest

    return whole


async def live(
    server: Server, ident: str, model: str, whole: Whole, body: ChatRequest
) -> AsyncIterator[dict[str, Any]]:
    """The chunks of a stream whose text leaves while the work goes on.

    The work does not wait for whoever reads the chunks: a slow reader holds no slot.
    """
    loop = asyncio.get_running_loop()
    pieces: asyncio.Queue[str | None] = asyncio.Queue()

    def emit(piece: str) -> None:
        loop.call_soon_threadsafe(pieces.put_nowait, piece)

    task = server.spawn(whole(emit))
    task.add_done_callback(lambda _: pieces.put_nowait(None))
    try:
        piece = await pieces.get()
        if piece is None:
            await task  # an error before the first text is an ordinary one
        yield bodies.chunk(ident, model, {"role": "assistant", "content": ""})
        while piece is not None:
            yield bodies.chunk(ident, model, {"content": piece})
            piece = await pieces.get()
        reply, rest = await task
        if rest:
            yield bodies.chunk(ident, model, {"content": rest})
        for last in _last(ident, model, reply, body):
            yield last
    finally:
        task.cancel()


async def streamed(
    request: Request, chunks: AsyncIterator[dict[str, Any]], headers: dict[str, str] | None = None
) -> Response:
    """Chunks as server-sent events; an error before the first of them is an ordinary one."""
    first = await anext(chunks)

    async def events() -> AsyncIterator[bytes]:
        try:
            yield bodies.event(first)
            async for chunk in chunks:
                yield bodies.event(chunk)
            yield bodies.DONE
        except Exception as error:
            shown = told(error, request.state.request_id)
            request.state.code, request.state.error = shown.code, type(error).__name__
            yield bodies.event(shown.body)
        finally:
            await chunks.aclose()  # type: ignore[attr-defined]

    return StreamingResponse(events(), headers=headers, media_type="text/event-stream")
