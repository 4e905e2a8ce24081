"""What the operator of a server allows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # the command reads this before anything heavy
    from guardrail.langchain.settings import StreamPolicy
    from guardrail.model.continuous.sharing import Driver
    from guardrail.server.keys import Keys
    from guardrail.server.late_verdicts import LateVerdicts


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """Limits and permissions; the defaults are the strict ones.

    Attributes:
        host: The address that is listened on; on a loopback one the `Host` of requests is checked.
        keys: Who may ask; None is everybody who reaches the address.
        cors_origins: Origins whose pages may ask.
        allow_original: Whether a request may have `include_original`.
        stream_policies: Those that a request may name; the first is the default.
        late: Keeps the verdicts of requests that do not wait for them; None allows no such requests.
        slots: Requests that work at the same time.
        driver: Whose loop their shared passes run in.
        queue: Requests that wait for a slot; the next one is answered with 429.
        max_tokens: The most that a request may ask for; None is no limit but the model's.
        timeout: Seconds for a request that names none; None is no limit.
        max_body: Bytes of a body.
        max_headers: Bytes of the headers together.
        body_timeout: Seconds within which a body has to be there.
    """

    host: str = "127.0.0.1"
    keys: Keys | None = None
    cors_origins: tuple[str, ...] = ()
    allow_original: bool = False
    stream_policies: tuple[StreamPolicy, ...] = ("answer",)
    late: LateVerdicts | None = None
    slots: int = 8
    driver: Driver = "guardrail"
    queue: int = 64
    max_tokens: int | None = None
    timeout: float | None = None
    max_body: int = 1 << 20
    max_headers: int = 16 << 10
    body_timeout: float = 30.0

    @property
    def loopback(self) -> bool:
        """Whether only this machine reaches the address."""
        return is_loopback(self.host)


def is_loopback(host: str) -> bool:
    """Whether an address is this machine's own.

    >>> is_loopback("127.0.0.1"), is_loopback("0.0.0.0")
    (True, False)
    """
    return host in ("localhost", "::1") or (host.startswith("127.") and host.replace(".", "").isdigit())
