"""The page and the contract that it speaks (docs/reference/server.md), with replies that a test chooses, slow and broken ones
too, which a real server seldom gives on demand. The header is the real server's: guardrail/server/gate.py.
"""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import guardrail

PAGE = Path(guardrail.__file__).parent / "server" / "page"
CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
TYPES = {".html": "text/html; charset=utf-8", ".js": "text/javascript", ".css": "text/css"}
POLICIES = {
    "object": "list",
    "default": "default",
    "data": [
        {"name": n, "description": "", "judges_claims": n == "per_claim"} for n in ("default", "strict", "per_claim")
    ],
    "allowed": {"include_original": True, "stream_policy": ["answer", "passthrough"]},
}


def chunk(delta=None, **choice):
    return {
        "object": "chat.completion.chunk",
        "choices": [{"index": 0, "delta": delta or {}, "finish_reason": None, **choice}],
    }


def stream(text, verdict):
    """The events of a whole stream."""
    return [chunk({"role": "assistant", "content": ""}), chunk({"content": text}), chunk(guardrail=verdict), "[DONE]"]


class Replies:
    """What the server says. chat: events, of which a threading.Event waits; or (status, headers, error). asked: the bodies."""

    def __init__(self):
        self.chat, self.decide, self.key, self.asked, self.hung_up = [], None, None, [], threading.Event()


@contextmanager
def page_server():
    """Yields the address of the page and its `Replies`."""
    replies = Replies()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def reply(self, status, body, kind="application/json", headers=()):
            data = body if isinstance(body, bytes) else json.dumps(body).encode()
            self.send_response(status)
            for name, value in {
                "Content-Type": kind,
                "Content-Length": len(data),
                "Content-Security-Policy": CSP,
                **dict(headers),
            }.items():
                self.send_header(name, str(value))
            self.end_headers()
            self.wfile.write(data)

        def refused(self):
            if replies.key is None or self.headers.get("Authorization") == f"Bearer {replies.key}":
                return False
            self.reply(401, {"error": {"message": "no key", "type": "authentication_error", "code": "invalid_api_key"}})
            return True

        def do_GET(self):
            name = self.path.lstrip("/") or "index.html"
            if self.path == "/v1/guard/policies":
                _ = self.refused() or self.reply(200, POLICIES)
            elif self.path == "/v1/models":
                _ = self.refused() or self.reply(
                    200, {"object": "list", "data": [{"id": "smollm2-135m", "object": "model"}]}
                )
            elif "/" not in name and (PAGE / name).is_file():
                self.reply(200, (PAGE / name).read_bytes(), TYPES[Path(name).suffix])
            else:
                self.reply(404, {"error": {"message": "not found", "code": "not_found"}})

        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if self.refused():
                return
            replies.asked.append((self.path, body))
            if self.path == "/v1/guard/decide":
                self.reply(200, replies.decide(body))
            elif isinstance(replies.chat, tuple):
                status, headers, error = replies.chat
                self.reply(status, {"error": error}, headers=headers)
            else:
                self.events()

        def events(self):
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.send_header("Connection", "close")
            self.end_headers()
            try:
                for each in replies.chat:
                    if isinstance(each, threading.Event):
                        while not each.wait(0.05):
                            self.wfile.write(b": waiting\n\n")  # fails once the client has gone
                    else:
                        self.wfile.write(
                            b"data: " + (each if isinstance(each, str) else json.dumps(each)).encode() + b"\n\n"
                        )
            except OSError:
                replies.hung_up.set()
            self.close_connection = True

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/", replies
    finally:
        server.shutdown()
        server.server_close()
