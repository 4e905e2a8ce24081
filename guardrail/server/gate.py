"""Every request before its route, and every response behind it. Plain ASGI, so that streams stay streams.

`Envelope` is around all: the id, a strict content security policy, one line of log. `Gate` is next to the routes, so that what
it refuses has the headers of CORS: the host, the origin, the key, sizes, JSON.
"""

from __future__ import annotations

import asyncio
import re
import time
import uuid
from typing import Any
from urllib.parse import urlsplit

from starlette.responses import JSONResponse
from starlette.routing import Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from guardrail.json_text import parse
from guardrail.server.errors import ApiError, internal_error
from guardrail.server.log import LOG, log_line
from guardrail.server.metrics import Metrics
from guardrail.server.settings import ServerSettings, is_loopback

_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
}


class Envelope:
    """Around everything: the id in, the id and the strict headers out, one line of log."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app, self.metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        given = next((v.decode("latin-1") for k, v in scope["headers"] if k == b"x-request-id"), "")
        ident = given if _ID.fullmatch(given) else uuid.uuid4().hex
        state = scope.setdefault("state", {})
        state["request_id"] = ident
        begun, status = time.perf_counter(), 0

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                own = {**_HEADERS, "x-request-id": ident}
                message["headers"] = [*message["headers"], *((k.encode(), v.encode()) for k, v in own.items())]
            await send(message)

        try:
            await self.app(scope, receive, answer)
        finally:
            if "code" in state:
                self.metrics.refusals.labels(state["code"]).inc()
            route = getattr(scope.get("route"), "path", None)
            told = {
                key: state[key] for key in ("code", "error", "client", "action", "verdict", "tokens") if key in state
            }
            told["seconds"] = round(time.perf_counter() - begun, 4)
            LOG.info(log_line(request_id=ident, method=scope["method"][:10], route=route, status=status, **told))


class Gate:
    """Whom and what a request must be of to reach its route. What nobody foresaw behind it is told to nobody."""

    def __init__(self, app: ASGIApp, settings: ServerSettings) -> None:
        self.app, self.settings = app, settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = {k.decode("latin-1").lower(): v.decode("latin-1") for k, v in scope["headers"]}
        state, begun = scope["state"], False

        async def answer(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            self._check(scope, headers, state)
            replayed = await self._body(scope, headers, receive)
            await self.app(scope, replayed, answer)
        except Exception as error:
            shown = error if isinstance(error, ApiError) else internal_error(state["request_id"])
            state["code"] = shown.code
            if shown is not error:
                state["error"] = type(error).__name__  # its text may hold a model's
            if begun:
                raise ConnectionAbortedError("the response was broken off") from None
            await respond(shown)(scope, receive, answer)

    def _check(self, scope: Scope, headers: dict[str, str], state: dict[str, Any]) -> None:
        """Host, origin, key. Raises `ApiError`."""
        settings = self.settings
        if sum(len(k) + len(v) for k, v in scope["headers"]) > settings.max_headers:
            raise ApiError(
                431, "headers_too_large", f"the headers have more than {settings.max_headers} bytes together"
            )
        if settings.loopback and not is_loopback(_host(f"//{headers.get('host', '')}")):
            raise ApiError(403, "forbidden_host", "this server answers to localhost alone")
        origin = headers.get("origin")
        own = origin is not None and origin.partition("://")[2] == headers.get("host")
        if origin is not None and not own and origin not in settings.cors_origins:
            raise ApiError(403, "forbidden_origin", "pages of this origin may not ask here")
        if settings.keys is not None and scope["path"].startswith(("/v1/", "/metrics")):
            client = settings.keys.client(headers.get("authorization"))
            state["client"], state["charge"] = client.name, client.charge
            if scope["path"].startswith("/v1/"):  # who watches the server spends nothing of what a client may ask
                client.admit()

    async def _body(self, scope: Scope, headers: dict[str, str], receive: Receive) -> Receive:
        """The body, read whole and checked, for whoever reads it next. Raises `ApiError`."""
        routes = scope["app"].routes if scope["method"] == "POST" else ()
        if not any(route.matches(scope)[0] is Match.FULL for route in routes):  # 404 and 405 are the router's to say
            return receive
        if headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            raise ApiError(415, "unsupported_media_type", "send JSON, with Content-Type: application/json")
        body, more = bytearray(), True
        try:
            async with asyncio.timeout(self.settings.body_timeout):
                while more:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise ApiError(499, "client_closed_request", "the client has hung up")
                    body += message.get("body", b"")
                    more = message.get("more_body", False)
                    if len(body) > self.settings.max_body:
                        raise ApiError(413, "body_too_large", f"the body has more than {self.settings.max_body} bytes")
        except TimeoutError:
            late = f"the body was not there within {self.settings.body_timeout:g} s"
            raise ApiError(408, "body_timeout", late) from None
        try:
            parse(body.decode())
        except ValueError:
            raise ApiError(400, "invalid_json", "the body is not JSON, or JSON that is not read here") from None
        read = False

        async def replay() -> Message:
            nonlocal read
            if read:
                return await receive()
            read = True
            return {"type": "http.request", "body": bytes(body), "more_body": False}

        return replay


def respond(error: ApiError) -> JSONResponse:
    """An error as a response."""
    return JSONResponse(error.body, error.status, error.headers)


def _host(address: str) -> str:
    try:
        return urlsplit(address).hostname or ""
    except ValueError:
        return ""
