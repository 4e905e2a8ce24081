"""`openai:URL#NAME` -> where an endpoint is, and which key it may see. Imports nothing heavy, and asks nobody."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import urlsplit

from guardrail.errors import ModelNotFoundError

PREFIX = "openai:"
"""How the spec of a model behind an endpoint begins."""

KEY_VARIABLE = "GUARDRAIL_API_KEY"
"""The environment variable with the key that any endpoint of the user's is sent."""

_OPENAI_KEY, _OPENAI_HOST = "OPENAI_API_KEY", "api.openai.com"
_EXAMPLE = "openai:http://127.0.0.1:8000/v1#NAME"


@dataclass(frozen=True, slots=True)
class Address:
    """Where an endpoint is, and which of its models is meant.

    Attributes:
        url: The base, without a slash at its end; `/chat/completions` follows it.
        name: The model's name there.
    """

    url: str
    name: str

    @classmethod
    def of(cls, spec: str) -> Address:
        """What a spec such as `openai:http://127.0.0.1:8000/v1#smollm2` names.

        Raises `ModelNotFoundError` for one that is none, and for an address that holds a password or a query: specs stand in
        logs and in files.
        """
        url, _, name = spec.removeprefix(PREFIX).partition("#")
        try:
            parts = urlsplit(url)
            _ = parts.port  # raises for one that is none
        except ValueError as error:
            raise ModelNotFoundError(
                f"the address in {_shown(spec)!r} cannot be read ({error}); write {_EXAMPLE}"
            ) from None
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ModelNotFoundError(f"{_shown(spec)!r} names no http or https address; write {_EXAMPLE}")
        if not name.strip():
            raise ModelNotFoundError(
                f"{_shown(spec)!r} does not say which model; write its name behind a #, as in {_EXAMPLE}"
            )
        if parts.username is not None or parts.password is not None or parts.query:
            raise ModelNotFoundError(
                f"the address of {name!r} holds a user, a password or a query, which a spec must not: specs stand in logs and "
                f"files. Put the key into the environment variable {KEY_VARIABLE}"
            )
        return cls(url.rstrip("/"), name.strip())

    @property
    def host(self) -> str:
        return urlsplit(self.url).hostname or ""

    @property
    def is_here(self) -> bool:
        """Whether it is this machine."""
        if self.host == "localhost":
            return True
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def root(self) -> str:
        """The server's own address, without the path of the API."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc}"

    def key(self, environment: Mapping[str, str] = os.environ) -> str | None:
        """The key that this endpoint may see; None where there is none for it.

        `GUARDRAIL_API_KEY` is for any endpoint, `OPENAI_API_KEY` for OpenAI's own host alone: whoever tries a server of their
        own does not mean to hand it that. Neither leaves this machine unencrypted.
        """
        encrypted = self.url.startswith("https:")
        if not (encrypted or self.is_here):
            return None
        theirs = environment.get(_OPENAI_KEY) if encrypted and self.host == _OPENAI_HOST else None
        return environment.get(KEY_VARIABLE) or theirs or None


def is_remote(spec: str) -> bool:
    """Whether a spec names a model behind an endpoint."""
    return spec.startswith(PREFIX)


def _shown(spec: str) -> str:
    """The spec without what may be a password in it."""
    head, at, tail = spec.rpartition("@")
    return f"{head.partition('//')[0]}//…@{tail}" if at else spec
