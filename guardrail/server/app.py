"""The routes. Model work is done in threads, inside a slot; the event loop only passes on what it comes to."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from importlib import resources
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import FileResponse, JSONResponse, PlainTextResponse
from starlette.exceptions import HTTPException

from guardrail.deadlines import Deadline, before
from guardrail.errors import GuardrailError
from guardrail.langchain.metadata import verdict_metadata
from guardrail.langchain.reply import tokens_of, usage_of
from guardrail.langchain.streaming import Watch
from guardrail.server import bodies, replies
from guardrail.server.errors import ApiError, told
from guardrail.server.gate import Envelope, Gate, respond
from guardrail.server.log_probs import log_probs_of, token_ids_of
from guardrail.server.observing import observing
from guardrail.server.replies import describe
from guardrail.server.requests import ChatRequest, CheckRequest, DecideRequest, ScoreRequest
from guardrail.server.service import Service, by_threshold, decide
from guardrail.server.state import Server
from guardrail.server.streams import Whole, held, judging, live, streamed
from guardrail.types import Verdict

if TYPE_CHECKING:
    from guardrail.model.local import LocalModel

__all__ = ["Server", "create_app"]


def create_app(server: Server, *, lifespan: Any = None) -> FastAPI:
    """The application: an ASGI app that any server can run."""
    app = FastAPI(title="guardrail", version="1", docs_url=None, redoc_url=None, lifespan=lifespan)
    app.add_middleware(Gate, settings=server.settings)
    if server.settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(server.settings.cors_origins),
            allow_methods=["GET", "POST"],
            allow_headers=["Authorization", "Content-Type", "X-Request-Id", "X-Request-Timeout"],
        )
    app.add_middleware(Envelope, metrics=server.metrics)  # around all: a preflight's answer has its headers, too
    _errors(app)
    _status_routes(app, server)

    @app.post("/v1/chat/completions", responses=replies.CHAT, openapi_extra=replies.TIMED)
    async def chat(body: ChatRequest, request: Request) -> Response:
        service = server.ready()
        service.check_model(body.model)
        ident = f"chatcmpl-{uuid.uuid4().hex}"
        answering, call = await asyncio.to_thread(service.call, body, server.timeout(request, body.timeout))
        model = service.model.name
        whole: Whole | None = None  # nothing leaves before the verdict
        if body.guardrail.mode == "observe":
            whole = observing(server, request, answering, call, body)
        elif body.stream and not answering.is_held(call):
            whole = judging(server, request, answering, call)
        if whole is not None and body.stream:
            return await streamed(request, live(server, ident, model, whole, body))
        if whole is not None:
            reply, _ = await whole(_unread)
            late = {"X-Guardrail-Verdict": reply.metadata["id"]}
            return JSONResponse(bodies.completion(ident, model, reply), headers=late)
        watch = Watch()

        def work() -> tuple[Verdict, dict[str, Any] | None]:
            try:
                (verdict,) = answering.verdicts([call], watch)
                return verdict, log_probs_of(service.answered_by(verdict), verdict, body)
            finally:
                server.charge(request, watch.usage)

        verdict, log_probs = await server.work(request, call.deadline, work, watch.abandon)
        reply = answering.reply(call, verdict)
        server.note(request, reply.metadata)
        ids = token_ids_of(service.answered_by(verdict), verdict, body, call)
        if body.stream:
            return await streamed(request, held(ident, model, reply, body, log_probs, ids), _gist(reply.metadata))
        return JSONResponse(bodies.completion(ident, model, reply, log_probs, ids), headers=_gist(reply.metadata))

    @app.post(
        "/v1/guard/score", response_model=replies.ScoreReply, responses=replies.WORKING, openapi_extra=replies.TIMED
    )
    async def score(body: ScoreRequest, request: Request) -> Response:
        service = server.ready()
        verdict, metadata = await _checked(server, request, service, body, {})
        keys = ("score", "unscored", "confidence", "confidence_interval", "label", "in_range", "basis", "basis_reason")
        told = {key: metadata[key] for key in (*keys, "familiarity", "calibrator")}
        return JSONResponse(
            {"id": f"score-{uuid.uuid4().hex}", "object": "guardrail.score", "model": verdict.model, **told}
        )

    @app.post(
        "/v1/guard/check",
        response_model=replies.CheckReply,
        responses={200: {"headers": replies.gist()}, **replies.WORKING},
        openapi_extra=replies.TIMED,
    )
    async def check(body: CheckRequest, request: Request) -> Response:
        service = server.ready()
        verdict, metadata = await _checked(server, request, service, body, body.guardrail.model_dump())
        server.metrics.verdict(metadata)
        request.state.action = metadata["action"]
        told = {"id": f"check-{uuid.uuid4().hex}", "object": "guardrail.check", "model": verdict.model}
        return JSONResponse({**told, "text": verdict.text, "guardrail": metadata}, headers=_gist(metadata))

    @app.get("/v1/guard/verdicts/{verdict_id}", responses=replies.LATE)
    async def late_verdict(verdict_id: str, request: Request) -> Response:
        late, owner = server.settings.late, getattr(request.state, "client", None)
        kept = None if late is None else late.read(verdict_id, owner=owner)
        if kept is None:
            raise ApiError(404, "verdict_not_found", "there is no such verdict here, or no longer", param="verdict_id")
        if kept.state == "pending":
            return Response(kept.body, 202, {"Retry-After": "1"}, "application/json")
        return Response(kept.body, media_type="application/json")

    @app.post("/v1/guard/decide", response_model=replies.DecisionReply, responses=replies.GIVEN)
    async def decision(body: DecideRequest) -> Response:
        if body.threshold is not None:
            return JSONResponse(decide(by_threshold(body.threshold), body))
        return JSONResponse(decide(server.ready().policy(body.policy), body))

    _page(app)
    describe(app, keys=server.settings.keys is not None)
    return app


def _page(app: FastAPI) -> None:
    """The files of the chat page, each a route: a mount on `/` would answer 404 where a method is wrong."""
    for file in resources.files("guardrail.server").joinpath("page").iterdir():
        app.add_route(
            "/" if file.name == "index.html" else f"/{file.name}", _served(str(file)), include_in_schema=False
        )


def _served(file: str) -> Callable[[Request], Awaitable[Response]]:
    async def served(request: Request) -> Response:
        return FileResponse(file)

    return served


async def _checked(
    server: Server, request: Request, service: Service, body: ScoreRequest, options: dict[str, Any]
) -> tuple[Verdict, dict[str, Any]]:
    """The verdict on a text that exists already, and its metadata."""
    service.check_model(body.model)
    chat, asked, trace = await asyncio.to_thread(service.given, body, options)
    deadline = Deadline.after(server.timeout(request, body.timeout))

    def work() -> Verdict:
        used = tokens_of([trace])
        try:
            with before(deadline):
                verdict = chat.guard.check(asked, body.answer, finish_reason=body.finish_reason)
            used = usage_of(verdict)
            return verdict
        finally:  # here, for a client that hangs up does not end it
            server.charge(request, used)

    verdict = await server.work(request, deadline, work)
    return verdict, verdict_metadata(verdict, include_original=chat.include_original)


def _unread(piece: str) -> None:
    """A piece of a text that is answered as a whole."""


def _gist(metadata: dict[str, Any]) -> dict[str, str]:
    out = {"X-Guardrail-Action": metadata["action"]}
    if metadata["confidence"] is not None:
        out["X-Guardrail-Confidence"] = f"{metadata['confidence']:.6g}"
    return out


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
    @app.get("/healthz", response_model=replies.Status, responses=replies.errors())
    async def healthz() -> Response:
        return JSONResponse({"status": "ok"})

    @app.get(
        "/readyz",
        response_model=replies.Status,
        responses={503: {"model": replies.Status, "description": "Not now."}, **replies.errors()},
    )
    async def readyz() -> Response:
        return JSONResponse({"status": server.state}, 200 if server.state == "ready" else 503)

    @app.get("/metrics", response_class=PlainTextResponse, responses=replies.METRICS)
    async def metrics() -> Response:
        return Response(server.metrics.text(), media_type="text/plain; version=0.0.4")

    @app.get("/v1/models", response_model=replies.Models, responses=replies.KEYED | replies.errors(503))
    async def models() -> Response:
        return JSONResponse({"object": "list", "data": [_model(server.ready().model)]})

    @app.get("/v1/models/{name:path}", response_model=replies.Model, responses=replies.KEYED | replies.errors(404, 503))
    async def one_model(name: str) -> Response:
        service = server.ready()
        service.check_model(name)
        return JSONResponse(_model(service.model))

    @app.get("/v1/guard/policies", response_model=replies.Policies, responses=replies.KEYED | replies.errors(503))
    async def policies() -> Response:
        service, settings = server.ready(), server.settings
        known = [
            {"name": p.name, "description": p.description, "judges_claims": p.judges_claims}
            for p in service.policies.values()
        ]
        allowed = {
            "include_original": settings.allow_original,
            "stream_policy": list(settings.stream_policies),
            "observe": settings.late is not None,
        }
        return JSONResponse({"object": "list", "default": service.default, "data": known, "allowed": allowed})


def _model(model: LocalModel) -> dict[str, Any]:
    dtype = model.identity.dtype
    return {"id": model.name, "object": "model", "created": 0, "owned_by": "guardrail", "dtype": dtype}
