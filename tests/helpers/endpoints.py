"""Endpoints on free ports of this machine: guardrail's own app in a thread, and one that says what it is told to."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import uvicorn

from guardrail.model.local import LocalModel
from guardrail.server.app import Server, create_app
from guardrail.server.service import Service
from guardrail.server.settings import ServerSettings

Answer = Callable[[BaseHTTPRequestHandler, dict[str, Any]], None]


@contextmanager
def own_endpoint(model: LocalModel, policy: str = "observe", **options: Any) -> Iterator[str]:
    """guardrail's server on a model of this process. options: of its Guard. Yields the base address."""
    settings = ServerSettings()
    app = create_app(Server(settings, Service(model, settings, [policy], options), "ready"))
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(app, log_level="error"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]}, daemon=True)
        thread.start()
        end = time.monotonic() + 60
        while not server.started:
            assert time.monotonic() < end
            time.sleep(0.02)
        try:
            yield f"http://127.0.0.1:{bound.getsockname()[1]}/v1"
        finally:
            server.should_exit = True
            thread.join(30)


def completion(
    text: str | None, tokens: list[tuple[str, Any]] | None = None, finish: str = "stop", **more: Any
) -> dict[str, Any]:
    """A `chat.completion`, with the log-probabilities of these tokens where they are given."""
    told = None if tokens is None else {"content": [{"token": t, "logprob": p, "top_logprobs": []} for t, p in tokens]}
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": finish, "logprobs": told}
    return {"object": "chat.completion", "choices": [choice], "usage": {"prompt_tokens": 7}, **more}


def say(handler: BaseHTTPRequestHandler, body: Any, status: int = 200, **headers: str) -> None:
    """Answer with JSON, or with bytes as they are."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    handler.send_response(status)
    for name, value in {"Content-Type": "application/json", "Content-Length": str(len(data)), **headers}.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    handler.wfile.write(data)


@contextmanager
def told_endpoint(answer: Answer) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """An endpoint of one model, `m`, that hands every chat request to `answer`. Yields its base address, and the requests."""
    seen: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            known = self.path == "/v1/models"
            say(self, {"data": [{"id": "m", "owned_by": "told"}]} if known else {}, 200 if known else 404)

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            seen.append({**body, "authorization": self.headers.get("Authorization")})
            answer(self, body)

        def log_message(self, *_: Any) -> None:
            pass

    class Quiet(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: Any) -> None:
            pass  # clients hang up on hostile answers

    with Quiet(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/v1", seen
        finally:
            server.shutdown()
