"""Keys of clients: made at random, kept as hashes, with limits of their own.

A key has 256 random bits, so its SHA-256 tells nothing about it, and needs no salt and no slow hash: those protect what people
can remember.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from guardrail.errors import DataError
from guardrail.files import read_text, write_whole
from guardrail.json_text import parse
from guardrail.server.errors import ApiError


class KeyEntry(BaseModel):
    """One key as the file has it. sha256: of the key, in hex. The limits are for a minute; None is none."""

    model_config = ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True)

    name: str = Field(pattern=r"^[A-Za-z0-9._-]{1,64}$")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    requests_per_minute: int | None = Field(default=None, ge=1)
    tokens_per_minute: int | None = Field(default=None, ge=1)


class KeyFile(BaseModel):
    """The file: `{"version": 1, "keys": [...]}`."""

    model_config = ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True)

    version: int = Field(default=1, ge=1, le=1)
    keys: list[KeyEntry]


@dataclass(slots=True)
class Allowance:
    """So many a minute, as a bucket that fills up evenly. What was taken beyond it is owed, and waited for."""

    per_minute: int
    clock: Callable[[], float] = time.monotonic
    left: float = field(init=False)
    at: float = field(init=False)

    def __post_init__(self) -> None:
        self.left, self.at = float(self.per_minute), self.clock()

    def wait(self, wanted: float) -> float:
        """Seconds until `wanted` are there; 0 when they are. wanted: at most `per_minute`."""
        now = self.clock()
        self.left = min(self.per_minute, self.left + (now - self.at) * self.per_minute / 60)
        self.at = now
        return max(0.0, wanted - self.left) * 60 / self.per_minute

    def take(self, number: float) -> None:
        self.left -= number


class Client:
    """Who has a key, and what is left to them in this minute."""

    def __init__(self, entry: KeyEntry, clock: Callable[[], float] = time.monotonic) -> None:
        self.name, self.digest = entry.name, bytes.fromhex(entry.sha256)
        self._requests = Allowance(entry.requests_per_minute, clock) if entry.requests_per_minute else None
        self._tokens = Allowance(entry.tokens_per_minute, clock) if entry.tokens_per_minute else None
        self._lock = threading.Lock()

    def admit(self) -> None:
        """Count a request. Raises `ApiError` where it is one too many, or tokens of earlier ones are still owed."""
        with self._lock:
            waits = [a.wait(1) for a in (self._requests, self._tokens) if a is not None]
            if (seconds := max(waits, default=0.0)) > 0:
                raise ApiError(
                    429,
                    "rate_limit_exceeded",
                    f"the limits of the key {self.name!r} are reached; try again in {seconds:.0f} s",
                    retry_after=int(seconds) + 1,
                )
            if self._requests is not None:
                self._requests.take(1)

    def charge(self, tokens: int) -> None:
        """Count the tokens that a request has used."""
        with self._lock:
            if self._tokens is not None:
                self._tokens.wait(0)
                self._tokens.take(tokens)


@dataclass(frozen=True, slots=True)
class Keys:
    """All keys of a server."""

    clients: Sequence[Client]

    @classmethod
    def load(cls, path: Path) -> Keys:
        """The keys in a file. Raises `DataError` for a file that cannot be read, holds no key, or holds one twice."""
        entries = _read(path).keys
        if not entries:
            raise DataError(f"{str(path)!r} holds no key; make one: guardrail serve-key NAME --api-key-file {path}")
        return cls([Client(entry) for entry in entries])

    def client(self, authorization: str | None) -> Client:
        """Whose key a request has. Raises `ApiError`. Every key is compared, so that the time tells nothing."""
        scheme, _, key = (authorization or "").partition(" ")
        digest = hashlib.sha256(key.strip().encode()).digest()
        found = [client for client in self.clients if hmac.compare_digest(client.digest, digest)]
        if scheme.lower() != "bearer" or not found:
            raise ApiError(401, "invalid_api_key", "give a valid key: Authorization: Bearer KEY")
        return found[0]


def add_key(path: Path, name: str, *, requests_per_minute: int | None, tokens_per_minute: int | None) -> str:
    """Make a key, and append its hash to the file, which is made if it is not there.

    Returns:
        The key; it stands nowhere else.

    Raises:
        DataError: The name is taken or malformed, or the file cannot be read or written.
    """
    entries = _read(path).keys if path.exists() else []
    if any(entry.name == name for entry in entries):
        raise DataError(f"{str(path)!r} has a key {name!r} already; take another name, or delete that entry first")
    key = f"gr-{secrets.token_urlsafe(32)}"
    try:
        entry = KeyEntry(
            name=name,
            sha256=hashlib.sha256(key.encode()).hexdigest(),
            requests_per_minute=requests_per_minute,
            tokens_per_minute=tokens_per_minute,
        )
    except ValidationError as error:
        raise DataError(f"a key's name is letters, digits, '.', '_' and '-', at most 64, not {name!r:.80}") from error
    text = KeyFile(keys=[*entries, entry]).model_dump_json(indent=1)
    write_whole(path, text + "\n", "the keys", DataError)
    path.chmod(0o600)
    return key


def _read(path: Path) -> KeyFile:
    try:
        found = KeyFile.model_validate(parse(read_text(path)))
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read {str(path)!r}: {getattr(error, 'strerror', None) or error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise DataError(f"{str(path)!r} is no file of keys: {where}: {first['msg']}") from None
    except ValueError as error:
        raise DataError(f"{str(path)!r} is not JSON: {error}") from None
    for what in ("name", "sha256"):
        values = [getattr(entry, what) for entry in found.keys]
        if len(set(values)) < len(values):
            raise DataError(f"{str(path)!r} has two keys with the same {what}; delete one")
    return found
