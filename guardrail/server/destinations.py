"""Where a webhook may go: to origins that the operator listed, at addresses that are public unless listed themselves.

A name is resolved for each try, and the connection goes to the address that was looked at, so that a name which changes its
address in between leads nowhere else. Nothing is redirected, and no proxy of the environment is used.
"""

from __future__ import annotations

import http.client
import ipaddress
import socket
import ssl
import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeAlias
from urllib.parse import urlsplit

from guardrail.errors import DataError

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
Resolve: TypeAlias = Callable[[str, int], list[str]]

MOST_URL = 2_000
_PORTS = {"https": 443, "http": 80}
_NAT64 = ipaddress.ip_network("64:ff9b::/96")  # an IPv4 address inside, perhaps a private one


@dataclass(frozen=True, slots=True)
class Origin:
    """Scheme, host (lower case, or an address) and port of a URL."""

    scheme: str
    host: str
    port: int

    @property
    def address(self) -> Address | None:
        """The host as an address; None where it is a name."""
        try:
            return ipaddress.ip_address(self.host)
        except ValueError:
            return None

    def __str__(self) -> str:
        return f"{self.scheme}://{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Destination:
    """A webhook's URL: its origin, and the path with the query."""

    origin: Origin
    path: str


def resolved(host: str, port: int) -> list[str]:
    """The addresses of a name, by the system. Raises OSError where there are none."""
    return sorted({str(found[4][0]) for found in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)})


class Destinations:
    """The origins that the operator listed.

        allowed = Destinations(["https://hooks.example.com", "http://127.0.0.1:9000"])
        destination = allowed.read("https://hooks.example.com/verdicts")
        allowed.post(destination, b"{}", {}, timeout=10)        # the status of the reply

    Args:
        origins: `https://HOST[:PORT]`. `http://` is for addresses alone, since a name without TLS is whoever answers.
        resolve: Name and port -> addresses.

    Raises:
        DataError: One of them is no such origin.
    """

    def __init__(self, origins: Iterable[str], *, resolve: Resolve = resolved) -> None:
        self._resolve = resolve
        self._origins = frozenset(_listed(origin) for origin in origins)

    def read(self, url: str) -> Destination:
        """Where a URL leads. Raises `DataError` for one that is malformed, or whose origin is not listed."""
        destination = _destination(url)
        if destination.origin not in self._origins:
            raise DataError(f"webhooks to {destination.origin} are not allowed; the operator lists where they may go")
        return destination

    def post(self, destination: Destination, body: bytes, headers: Mapping[str, str], *, timeout: float) -> int:
        """Deliver once. The reply's body is not read.

        Args:
            destination: From `read`.
            body: JSON.
            headers: What goes with it beside `Content-Type`.
            timeout: Seconds for all of it but the resolving.

        Returns:
            The status of the reply; a redirect is not followed.

        Raises:
            OSError: There was no reply, or the name leads to an address that is not public.
        """
        origin = destination.origin
        connection = _Pinned(origin, self._addresses(origin), timeout)
        alarm = threading.Timer(timeout, connection.stop)  # a reply that drips would outlive the socket's own timeout
        alarm.daemon = True
        alarm.start()
        try:
            connection.request("POST", destination.path, body, {"Content-Type": "application/json", **headers})
            return connection.getresponse().status
        except http.client.HTTPException as error:
            raise OSError(f"no reply of HTTP from {origin} ({type(error).__name__})") from error
        finally:
            alarm.cancel()
            connection.close()

    def _addresses(self, origin: Origin) -> list[str]:
        """Raises OSError where one of them is not public: whoever serves the name would choose among them."""
        if origin.address is not None:
            return [origin.host]  # listed literally
        found = self._resolve(origin.host, origin.port)
        if private := [address for address in found if not is_public(address)]:
            raise OSError(f"{origin.host} leads to {private[0]}, which is no public address; list the address itself")
        if not found:
            raise OSError(f"{origin.host} has no address")
        return found


def is_public(text: str) -> bool:
    """Whether an address belongs to the public Internet, also where an IPv4 address stands in an IPv6 one."""
    address = ipaddress.ip_address(text.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address):
        if address in _NAT64:
            return False
        for inside in (address.ipv4_mapped, address.sixtofour, *(address.teredo or ())):
            if inside is not None and not is_public(str(inside)):
                return False
        if address.ipv4_mapped is not None:
            return True
    return address.is_global and not address.is_multicast and not address.is_reserved


class _Pinned(http.client.HTTPConnection):
    """A connection to addresses that were looked at; TLS still proves the name."""

    def __init__(self, origin: Origin, addresses: list[str], timeout: float) -> None:
        super().__init__(origin.host, origin.port, timeout=timeout)
        self._tls = ssl.create_default_context() if origin.scheme == "https" else None
        self._addresses, self._stopped = addresses, False

    def connect(self) -> None:
        for address in self._addresses:
            try:
                self.sock = socket.create_connection((address, self.port), self.timeout)
                break
            except OSError:
                if address == self._addresses[-1]:
                    raise
        if self._stopped:
            raise TimeoutError("it took too long to connect")
        if self._tls is not None:
            self.sock = self._tls.wrap_socket(self.sock, server_hostname=self.host, do_handshake_on_connect=False)
            self.sock.do_handshake()  # by itself, so that `stop` reaches it

    def stop(self) -> None:
        """From another thread: what is being waited for fails now."""
        self._stopped = True
        with suppress(OSError, AttributeError):
            self.sock.shutdown(socket.SHUT_RDWR)


def _listed(text: str) -> Origin:
    destination = _destination(text.strip())
    if destination.path != "/":
        raise DataError(f"{text!r} has a path; list the origin alone, such as https://hooks.example.com")
    if destination.origin.scheme == "http" and destination.origin.address is None:
        raise DataError(f"{text!r} is a name without TLS; take https://, or an address such as http://127.0.0.1:9000")
    return destination.origin


def _destination(url: str) -> Destination:
    if len(url) > MOST_URL or not url.isascii() or any(c <= " " or c in '\\"<>^`{|}' for c in url):
        raise DataError(
            f"a webhook is a URL of at most {MOST_URL} characters, all ASCII; this one is not: {url[:80]!r}"
        )
    try:
        parts = urlsplit(url)
        host, port = (parts.hostname or "").rstrip("."), parts.port
    except ValueError as error:
        raise DataError(f"{url[:80]!r} is no URL: {error}") from error
    if parts.scheme not in _PORTS or not host:
        raise DataError(f"{url[:80]!r} is no URL of https:// with a host")
    if parts.username is not None or parts.password is not None or parts.fragment:
        raise DataError("a webhook's URL has no user, password or fragment; its signature says who sent it")
    with suppress(ValueError):
        host = str(ipaddress.ip_address(host))  # one spelling for each
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Destination(Origin(parts.scheme, host, port or _PORTS[parts.scheme]), path)
