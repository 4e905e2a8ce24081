"""The routes. Model work is done in threads, inside a slot; the event loop only passes on what it comes to."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from importlib import resources
from typing import Any, Literal, TypeVar

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import JSONResponse, StreamingResponse
from starlette.exceptions import HTTPException
from starlette.staticfiles import StaticFiles

from guardrail.deadlines import Deadline, before
from guardrail.errors import ChatTemplateError, DataError, DeadlineError, GuardrailError, ModelError
from guardrail.langchain.call import Call
from guardrail.langchain.convert import to_chat_messages
from guardrail.langchain.metadata import verdict_metadata
from guardrail.langchain.reply import Reply
from guardrail.langchain.streaming import Watch
from guardrail.server import bodies
from guardrail.server.errors import ApiError, internal_error
from guardrail.server.gate import Gate, respond
from guardrail.server.metrics import Metrics
from guardrail.server.queue import Slots
from guardrail.server.requests import ChatRequest, CheckRequest, DecideRequest, ScoreRequest
from guardrail.server.service import Service, by_threshold, decide, to_langchain
from guardrail.server.settings import ServerSettings
from guardrail.types import Verdict

T = TypeVar("T")
Status = Literal["loading", "ready", "draining", "failed"]


@dataclass(slots=True)
class Server:
    """What the routes share. service: None until the model is loaded."""

    settings: ServerSettings
    service: Service | None = None
    status: Status = "loading"
    metrics: Metrics = field(default_factory=Metrics)
    slots: Slots = field(init=False)

    def __post_init__(self) -> None:
        self.slots = Slots(self.settings.slots, self.settings.queue, self.metrics)

    def ready(self) -> Service:
        """The service. Raises `ApiError` (503) while there is none."""
        if self.status != "ready" or self.service is None:
            raise ApiError(503, self.status, f"the server is {self.status}", retry_after=5)
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

    async def work(self, request: Request, deadline: Deadline | None, work: Callable[[Watch], T]) -> T:
        """Do work in a slot; a client that hangs up ends it at its next token."""
        watch = Watch()

        async def inside() -> T:
            async with self.slots.slot(deadline):
                return await self.slots.run(lambda: work(watch), watch.abandon)

        task, gone = asyncio.create_task(inside()), asyncio.create_task(_hung_up(request))
        try:
            await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                task.cancel()
            return await task
        finally:
            gone.cancel()
            task.cancel()

    def note(self, request: Request, metadata: dict[str, Any], usage: dict[str, int] | None = None) -> None:
        """Count a verdict."""
        self.metrics.verdict(metadata)
        request.state.action = metadata["action"]
        if usage is not None:
            self.metrics.used(usage["prompt_tokens"], usage["completion_tokens"])
            request.state.tokens = usage["total_tokens"]
            if charge := getattr(request.state, "charge", None):
                charge(usage["total_tokens"])


async def _hung_up(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def create_app(server: Server, *, lifespan: Any = None) -> FastAPI:
    """The application: an ASGI app that any server can run."""
    app = FastAPI(title="guardrail", version="1", docs_url=None, redoc_url=None, lifespan=lifespan)
    app.add_middleware(Gate, settings=server.settings, metrics=server.metrics)
    if server.settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(server.settings.cors_origins),
            allow_methods=["GET", "POST"],
            allow_headers=["Authorization", "Content-Type", "X-Request-Id", "X-Request-Timeout"],
        )
    _errors(app)
    _status_routes(app, server)

    @app.post("/v1/chat/completions")
    async def chat(body: ChatRequest, request: Request) -> Response:
        service = server.ready()
        service.check_model(body.model)
        ident = f"chatcmpl-{uuid.uuid4().hex}"
        answering, call = await asyncio.to_thread(service.call, body, server.timeout(request, body.timeout))
        model = service.model.name
        if body.stream and not answering.is_held(call):
            chunks = _live(server, request, answering, call, ident, body)
            return await _streamed(chunks)
        verdict = await server.work(request, call.deadline, lambda watch: answering.verdicts([call], watch)[0])
        reply = answering.reply(call, verdict)
        server.note(request, reply.metadata, bodies.usage(reply))
        if body.stream:
            return await _streamed(_held(ident, model, reply, body), _gist(reply.metadata))
        return JSONResponse(bodies.completion(ident, model, reply), headers=_gist(reply.metadata))

    @app.post("/v1/guard/score")
    async def score(body: ScoreRequest, request: Request) -> Response:
        service = server.ready()
        verdict, metadata = await _checked(server, request, service, body, {})
        keys = ("score", "unscored", "confidence", "confidence_interval", "label", "in_range", "basis", "basis_reason")
        told = {key: metadata[key] for key in (*keys, "familiarity", "calibrator")}
        return JSONResponse(
            {"id": f"score-{uuid.uuid4().hex}", "object": "guardrail.score", "model": verdict.model, **told}
        )

    @app.post("/v1/guard/check")
    async def check(body: CheckRequest, request: Request) -> Response:
        service = server.ready()
        verdict, metadata = await _checked(server, request, service, body, body.guardrail.model_dump())
        server.note(request, metadata)
        told = {"id": f"check-{uuid.uuid4().hex}", "object": "guardrail.check", "model": verdict.model}
        return JSONResponse({**told, "text": verdict.text, "guardrail": metadata}, headers=_gist(metadata))

    @app.post("/v1/guard/decide")
    async def decision(body: DecideRequest) -> Response:
        if body.threshold is not None:
            return JSONResponse(decide(by_threshold(body.threshold), body))
        return JSONResponse(decide(server.ready().policy(body.policy), body))

    with suppress(FileNotFoundError, ModuleNotFoundError):  # the page is an addition
        page = resources.files("guardrail.server").joinpath("page")
        if page.joinpath("index.html").is_file():
            app.mount("/", StaticFiles(directory=str(page), html=True))
    return app


async def _checked(
    server: Server, request: Request, service: Service, body: ScoreRequest, options: dict[str, Any]
) -> tuple[Verdict, dict[str, Any]]:
    """The verdict on a text that exists already, and its metadata."""
    service.check_model(body.model)
    chat = service.guarded(options.get("policy"), **{k: v for k, v in options.items() if k != "policy"})
    messages = to_chat_messages(to_langchain(body.messages))
    alone = len(messages) == 1 and messages[0]["role"] == "user"
    asked = messages[0]["content"] if alone else messages
    deadline = Deadline.after(server.timeout(request, body.timeout))

    def work(_: Watch) -> Verdict:
        with before(deadline):
            return chat.guard.check(asked, body.answer, finish_reason=body.finish_reason)

    verdict = await server.work(request, deadline, work)
    return verdict, verdict_metadata(verdict, include_original=chat.include_original)


def _gist(metadata: dict[str, Any]) -> dict[str, str]:
    out = {"X-Guardrail-Action": metadata["action"]}
    if metadata["confidence"] is not None:
        out["X-Guardrail-Confidence"] = f"{metadata['confidence']:.6g}"
    return out


async def _held(ident: str, model: str, reply: Reply, body: ChatRequest) -> AsyncIterator[dict[str, Any]]:
    """The chunks of a reply that is there."""
    yield bodies.chunk(ident, model, {"role": "assistant", "content": ""})
    if reply.text:
        yield bodies.chunk(ident, model, {"content": reply.text})
    for last in _last(ident, model, reply, body):
        yield last


def _last(ident: str, model: str, reply: Reply, body: ChatRequest) -> list[dict[str, Any]]:
    out = [bodies.chunk(ident, model, {}, reply)]
    if body.stream_options is not None and body.stream_options.include_usage:
        out.append(bodies.usage_chunk(ident, model, reply))
    return out


async def _live(
    server: Server, request: Request, answering: Any, call: Call, ident: str, body: ChatRequest
) -> AsyncIterator[dict[str, Any]]:
    """The chunks of a stream whose text leaves before the whole verdict. The slot is held until the model is free."""
    model = answering.guard.model.name
    async with server.slots.slot(call.deadline):
        yield bodies.chunk(ident, model, {"role": "assistant", "content": ""})
        with answering.stream(call) as live:
            async for piece in live:
                yield bodies.chunk(ident, model, {"content": piece})
            reply = answering.reply(call, live.verdict, enforced=live.enforced, shown=live.shown)
            if rest := live.rest:  # read once: what was read is out
                yield bodies.chunk(ident, model, {"content": rest})
        server.note(request, reply.metadata, bodies.usage(reply))
        for last in _last(ident, model, reply, body):
            yield last


async def _streamed(chunks: AsyncIterator[dict[str, Any]], headers: dict[str, str] | None = None) -> Response:
    """Chunks as server-sent events; an error before the first of them is an ordinary one."""
    first = await anext(chunks)

    async def events() -> AsyncIterator[bytes]:
        try:
            yield bodies.event(first)
            async for chunk in chunks:
                yield bodies.event(chunk)
            yield bodies.DONE
        except Exception as error:
            yield bodies.event(told(error, "").body)
        finally:
            await chunks.aclose()  # type: ignore[attr-defined]

    return StreamingResponse(events(), headers=headers, media_type="text/event-stream")


def told(error: Exception, request_id: str) -> ApiError:
    """What a client is told of an exception. Only those that speak of the request itself are told in their own words."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, DeadlineError):
        return ApiError(504, "deadline_exceeded", str(error))
    if isinstance(error, DataError | ChatTemplateError) or type(error) is ModelError:
        return ApiError(400, "invalid_value", str(error))
    return internal_error(request_id)


def _errors(app: FastAPI) -> None:
    def answered(request: Request, error: ApiError) -> Response:
        request.state.code = error.code
        return respond(error)

    @app.exception_handler(GuardrailError)
    async def ours(request: Request, error: Exception) -> Response:
        return answered(request, told(error, request.state.request_id))

    @app.exception_handler(RequestValidationError)
    async def malformed(request: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"][1:])
        unknown = first["type"] == "extra_forbidden"
        message = f"there is no field {where[:200]!r} here" if unknown else f"{where[:200] or 'body'}: {first['msg']}"
        code = "unknown_field" if unknown else "invalid_value"
        return answered(request, ApiError(400, code, message, param=where[:200] or None))

    @app.exception_handler(HTTPException)
    async def unrouted(request: Request, error: HTTPException) -> Response:
        code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "invalid_value")
        response = answered(request, ApiError(error.status_code, code, f"{error.detail}; see /openapi.json"))
        response.headers.update(error.headers or {})
        return response


def _status_routes(app: FastAPI, server: Server) -> None:
    @app.get("/healthz")
    async def healthz() -> Response:
        return JSONResponse({"status": "ok"})

    @app.get("/readyz")
    async def readyz() -> Response:
        return JSONResponse({"status": server.status}, 200 if server.status == "ready" else 503)

    @app.get("/metrics")
    async def metrics() -> Response:
        return Response(server.metrics.text(), media_type="text/plain; version=0.0.4")

    @app.get("/v1/models")
    async def models() -> Response:
        return JSONResponse({"object": "list", "data": [_model(server.ready().model.name)]})

    @app.get("/v1/models/{name:path}")
    async def one_model(name: str) -> Response:
        server.ready().check_model(name)
        return JSONResponse(_model(name))

    @app.get("/v1/guard/policies")
    async def policies() -> Response:
        service, settings = server.ready(), server.settings
        known = [
            {"name": p.name, "description": p.description, "judges_claims": p.judges_claims}
            for p in service.policies.values()
        ]
        allowed = {"include_original": settings.allow_original, "stream_policy": list(settings.stream_policies)}
        return JSONResponse({"object": "list", "default": service.default, "data": known, "allowed": allowed})


def _model(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 0, "owned_by": "guardrail"}
