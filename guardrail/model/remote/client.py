"""JSON to and from an endpoint: time-outs, retries, a circuit breaker, and limits on what comes back.

Knows nothing about what the JSON means. Every failure is an `EndpointError`, whose message holds neither the key nor the text
that was sent.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

from guardrail.deadlines import check_deadline, sooner
from guardrail.errors import EndpointError, MissingExtraError
from guardrail.json_text import parse
from guardrail.model.remote.address import KEY_VARIABLE, Address
from guardrail.model.remote.breaker import Breaker

if TYPE_CHECKING:
    import httpx

MOST_BYTES = 8 * 2**20
"""The longest body that is read, in bytes: an answer with twenty alternatives a token stays far below."""

_AGAIN = (429, 503)
_SAID = 200  # characters of what an endpoint says of an error
_MARK = b"data:"


class StatusError(EndpointError):
    """The endpoint answered with an error of its own. status: the HTTP status. said: its words, shortened."""

    def __init__(self, message: str, status: int, said: str) -> None:
        super().__init__(message)
        self.status, self.said = status, said


@dataclass(frozen=True, slots=True)
class Patience:
    """How long an endpoint is waited for.

    Attributes:
        seconds: For one request, from its first byte to the last of its answer.
        connect: For the connection alone.
        tries: Requests at most, the first one included; only 429 and 503 are asked again.
        longest: The longest pause between two of them, in seconds. An endpoint that asks for a longer one is an error.
    """

    seconds: float = 120.0
    connect: float = 10.0
    tries: int = 4
    longest: float = 60.0


class Client:
    """Asks one endpoint. Threads may share it.

    sleep: waits so many seconds, for tests.
    """

    def __init__(
        self,
        address: Address,
        *,
        patience: Patience | None = None,
        breaker: Breaker | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        try:
            import httpx
        except ImportError as error:
            raise MissingExtraError(
                "a model behind an endpoint needs httpx; run: pip install 'hybridgrad-guardrail[remote]'"
            ) from error
        self.address, self.patience = address, patience or Patience()
        self._breaker, self._sleep = breaker or Breaker(), sleep
        self._key = address.key()
        headers = {"Authorization": f"Bearer {self._key}"} if self._key else {}
        # a redirect would take the question, and maybe the key, to somebody else; a proxy has no business on this machine
        self._http = httpx.Client(
            follow_redirects=False,
            headers=headers,
            trust_env=not address.is_here,
            # a connection that the server has closed meanwhile would look like a lost answer
            limits=httpx.Limits(max_keepalive_connections=0),
        )

    def get(self, url: str) -> Any:
        """The JSON at an address, by GET; None where there is nothing there (404, 405)."""
        try:
            return self._asked("GET", url, None)
        except StatusError as error:
            if error.status in (404, 405):
                return None
            raise

    def post(self, path: str, body: Mapping[str, Any]) -> Any:
        """The JSON that `path`, behind the base, answers to a body."""
        return self._asked("POST", self.address.url + path, body)

    def _asked(self, method: str, url: str, body: Mapping[str, Any] | None) -> Any:
        with self._opened(method, url, body) as (response, ends):
            return _json(b"".join(_within(response, ends)))

    def events(self, path: str, body: Mapping[str, Any]) -> Generator[Any]:
        """The JSON of each server-sent event that `path` answers to a body, up to `[DONE]`, which some leave out."""
        with self._opened("POST", self.address.url + path, body) as (response, ends):
            rest = b""
            for piece in _within(response, ends):
                *lines, rest = (rest + piece).split(b"\n")
                for line in lines:
                    if not line.startswith(_MARK):
                        continue
                    data = line.removeprefix(_MARK).strip()
                    if data == b"[DONE]":
                        return
                    yield _json(data)

    @contextmanager
    def _opened(self, method: str, url: str, body: Mapping[str, Any] | None) -> Iterator[tuple[httpx.Response, float]]:
        """A response of status 200, and by when, in seconds of the monotonic clock, it has to be read."""
        import httpx

        if (blocked := self._breaker.blocked()) is not None:
            raise EndpointError(
                f"{self.address.root} has failed several times in a row and is left alone for {blocked:.0f} s more; see "
                "whether it runs"
            )
        content = None if body is None else json.dumps(body, allow_nan=False).encode()
        ok = False
        try:
            for left in reversed(range(self.patience.tries)):
                limit = sooner(self.patience.seconds) or self.patience.seconds
                ends = time.monotonic() + limit
                request = self._http.build_request(
                    method,
                    url,
                    content=content,
                    headers={"Content-Type": "application/json"} if content else None,
                    timeout=httpx.Timeout(limit, connect=min(limit, self.patience.connect)),
                )
                response = self._http.send(request, stream=True)
                try:
                    if response.status_code == 200:
                        yield response, ends
                        ok = True
                        return
                    refused = self._refused(response, ends)
                    ok = refused.status < 500  # what it refuses, it is there to refuse
                    pause = _pause(response, self.patience.tries - left - 1)
                finally:
                    response.close()
                if refused.status not in _AGAIN or not left:
                    raise refused
                if pause > self.patience.longest:
                    raise StatusError(
                        f"{refused}; it asks to wait {pause:.0f} s, longer than is waited here ({self.patience.longest:.0f} s)",
                        refused.status,
                        refused.said,
                    )
                self._wait(pause)
        except httpx.TimeoutException as error:
            check_deadline()
            raise self._late() from error
        except (httpx.HTTPError, httpx.StreamError, httpx.InvalidURL) as error:
            check_deadline()
            raise EndpointError(
                f"the connection to {self.address.root} failed or was lost ({type(error).__name__}), so there is no answer; "
                "see whether the server runs there, and try again"
            ) from error
        except GeneratorExit:
            ok = True  # whoever reads has had enough
            raise
        finally:
            self._breaker.note(ok=ok)

    def _wait(self, seconds: float) -> None:
        left = sooner(seconds)  # a pause that ends behind the deadline ends at it
        self._sleep(seconds if left is None else left)
        check_deadline()

    def _late(self) -> EndpointError:
        return EndpointError(
            f"{self.address.root} did not answer within {self.patience.seconds:g} s; allow more time, or fewer tokens"
        )

    def _refused(self, response: httpx.Response, ends: float) -> StatusError:
        """What an answer of another status than 200 means."""
        status = response.status_code
        if 300 <= status < 400:
            return StatusError(
                f"{self.address.root} redirects, and no redirect is followed: the question would go to somebody else. Give the "
                "address that it redirects to, if you trust it",
                status,
                "",
            )
        try:
            said = _words(b"".join(_within(response, ends)))
        except EndpointError:
            said = ""
        remedy = ""
        if status in (401, 403):
            why = "" if self._key else " (none was sent: it never goes over plain http to another machine)"
            remedy = f"; put its key into the environment variable {KEY_VARIABLE}{why}"
        words = f": {said}" if said else ""
        return StatusError(f"{self.address.root} answered with status {status}{words}{remedy}", status, said)


def _within(response: httpx.Response, ends: float) -> Iterator[bytes]:
    """The body's pieces. Raises `EndpointError` for one that is too long, or comes too slowly."""
    size = 0
    for piece in response.iter_bytes():
        size += len(piece)
        if size > MOST_BYTES:
            raise EndpointError(f"the endpoint's answer is longer than {MOST_BYTES // 2**20} MiB, so it was not read")
        if time.monotonic() > ends:
            check_deadline()
            raise EndpointError("the endpoint's answer came too slowly, so it was not read to its end; allow more time")
        yield piece


def _json(body: bytes) -> Any:
    try:
        return parse(body.decode())
    except ValueError as error:  # the undecodable, too
        raise EndpointError(
            f"the endpoint's answer is not JSON that can be used ({' '.join(str(error).split())[:80]})"
        ) from error


def _words(body: bytes) -> str:
    """What an error's body says, shortened."""
    try:
        found = parse(body.decode())
        error = found.get("error", found) if isinstance(found, dict) else found
        said = error.get("message", error.get("detail", "")) if isinstance(error, dict) else error
    except ValueError:
        said = body.decode(errors="replace")
    return "".join(c if c.isprintable() else " " for c in " ".join(str(said).split()))[:_SAID]


def _pause(response: httpx.Response, before: int) -> float:
    """Seconds until the next try: what Retry-After says, else a second, doubled for each try before, less a random part."""
    said = response.headers.get("retry-after", "")
    if said.strip().isdigit():
        return float(said)
    try:
        when = parsedate_to_datetime(said)
        return max(0.0, (when.astimezone(UTC) - datetime.now(UTC)).total_seconds())
    except (TypeError, ValueError):
        return float(2**before) * random.uniform(0.5, 1.0)  # noqa: S311  (no secret)
