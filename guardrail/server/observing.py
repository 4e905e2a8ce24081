"""Answers that do not wait for their verdicts (`"mode": "observe"`): the text leaves as it comes, nothing is held back.

The generation, its states and the passes are those of any other request; only who waits for what is different. A request that
fails before its text is there fails as any other, and no verdict is expected of it.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace

from fastapi import Request

from guardrail.errors import DataError, DeadlineError
from guardrail.langchain.answering import Answering
from guardrail.langchain.call import Call
from guardrail.langchain.metadata import shown_hash, verdict_metadata
from guardrail.langchain.reply import Reply
from guardrail.langchain.streaming import TextStream, Watch
from guardrail.server.errors import ApiError, internal_error, told
from guardrail.server.late_verdicts import LateVerdicts, pending
from guardrail.server.log import LOG, log_line
from guardrail.server.requests import ChatRequest
from guardrail.server.state import Server
from guardrail.server.streams import Emit, Whole
from guardrail.types import Trace


def observing(server: Server, request: Request, answering: Answering, call: Call, body: ChatRequest) -> Whole:
    """The work of a request that does not wait for its verdict, for `streams.live`.

    Raises:
        ApiError: The operator does not allow it, or not this webhook.
    """
    late = server.settings.late
    if late is None:
        raise ApiError(400, "not_allowed", "the mode observe is not allowed here", param="guardrail.mode")
    try:
        to = late.destination(body.guardrail.webhook)
    except DataError as error:
        raise ApiError(400, "not_allowed", str(error), param="guardrail.webhook") from None
    live = body.stream and not call.options.tools  # calls are read from the whole text, so none of it is text before
    owner, ident = getattr(request.state, "client", None), request.state.request_id
    model = answering.guard.model

    async def whole(emit: Emit) -> tuple[Reply, str]:
        loop = asyncio.get_running_loop()
        out: asyncio.Future[tuple[Reply, str]] = loop.create_future()
        said: list[tuple[str, Reply]] = []
        stream = TextStream(model.tokenizer, model.eos_ids, call.options.stop)

        def on_text(trace: Trace) -> None:
            server.charge(request, watch.usage)
            verdict_id = late.expect(owner=owner, to=to)
            reply = replace(answering.unjudged(call, trace), metadata=pending(verdict_id))
            said.append((verdict_id, reply))
            loop.call_soon_threadsafe(_settle, out, (reply, stream.remaining(reply.text)))

        watch = Watch(stream if live else None, emit, on_text=on_text)

        def do() -> tuple[Reply, str]:
            try:
                verdict = answering.verdicts([call], watch)[0]
                ((verdict_id, reply),) = said
                metadata = verdict_metadata(
                    verdict,
                    enforced=False,
                    include_original=answering.chat.include_original,
                    text_hash=shown_hash(reply.text, reply.calls),
                )
                server.metrics.verdict(metadata)
                late.deliver(verdict_id, metadata)
                LOG.info(log_line(request_id=ident, verdict=verdict_id, action=metadata["action"]))
            except BaseException as error:
                if not said:
                    server.charge(request, watch.usage)
                else:
                    _fail(late, said[0][0], error, ident)
                raise
            return reply, ""

        reply, rest = await server.work(request, call.deadline, do, watch.abandon, out)
        request.state.verdict = reply.metadata["id"]
        return reply, rest

    return whole


def _fail(late: LateVerdicts, verdict_id: str, error: BaseException, ident: str) -> None:
    """What goes wrong at work may quote texts: as in an ordinary reply, nothing of it is told."""
    known = isinstance(error, ApiError | DeadlineError)
    shown = told(error, ident) if known and isinstance(error, Exception) else internal_error(ident)
    late.fail(verdict_id, shown.body["error"])
    LOG.info(log_line(request_id=ident, verdict=verdict_id, code=shown.code, error=type(error).__name__))


def _settle(out: asyncio.Future[tuple[Reply, str]], result: tuple[Reply, str]) -> None:
    if not out.done():
        out.set_result(result)
