"""What an endpoint allows, found by asking it: one answer of one token, and what it says about itself."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from guardrail.errors import EndpointError, ModelNotFoundError
from guardrail.model.remote.client import Client, StatusError
from guardrail.model.remote.replies import choice_of, fingerprint_of, ids_in, log_probs_in

_TOP = (20, 5, 1)  # alternatives a token that engines allow, most first
WITH_IDS = {"return_token_ids": True}
"""What asks for the ids of the prompt and of the answer, as vLLM has it."""

_REFUSED = (400, 404, 422, 501)
_PLAIN = re.compile(r"[^\w .:+/-]")


@dataclass(frozen=True, slots=True)
class Abilities:
    """What an endpoint gives beside the text.

    Attributes:
        log_probs: Whether it gives the log-probabilities of what it generates.
        top_log_probs: Of so many tokens at each place, at most; 0 of the generated one alone.
        engine: Who says to own the model, the engine's version, its dtype and the weights' quantisation, as far as it tells.
        fingerprint: What it calls its set-up in its answers; empty where it does not say.
        context: The longest prompt with its answer, in tokens; None where it does not say.
        token_ids: Whether it takes `return_token_ids`; looked for only where somebody wants the ids.
    """

    log_probs: bool
    top_log_probs: int
    engine: str
    fingerprint: str = ""
    context: int | None = None
    token_ids: bool = False


def abilities_of(client: Client, more: Mapping[str, Any], *, ids: bool = False) -> Abilities:
    """Ask an endpoint. more: what every request holds beside the conversation. ids: whether token ids are wanted, too.

    Raises `EndpointError` where it cannot be asked, and `ModelNotFoundError` where it lists its models and this is none.
    """
    name = client.address.name
    card = _card(_list(_optional(client, f"{client.address.url}/models")), name)
    body = {"model": name, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 1, "temperature": 0, **more}
    found: Any = {}
    log_probs, top = False, 0
    for wanted in (*_TOP, None):
        asked = body if wanted is None else {**body, "logprobs": True, "top_logprobs": wanted}
        try:
            found = client.post("/chat/completions", asked)
        except StatusError as error:
            if wanted is None or error.status not in _REFUSED:
                raise
            continue
        tokens = log_probs_in(choice_of(found).get("logprobs"))
        if tokens and not isinstance(tokens, str):
            log_probs, top = True, len(tokens[0].top)
        break
    return Abilities(
        log_probs,
        top,
        _engine(card, _optional(client, f"{client.address.root}/version")),
        fingerprint_of(found),
        _context(card),
        ids and _gives_ids(client, body),
    )


def _gives_ids(client: Client, body: Mapping[str, Any]) -> bool:
    """Whether it says which ids it writes. Who does not know the option ignores it or refuses it."""
    try:
        found = client.post("/chat/completions", {**body, **WITH_IDS})
    except StatusError as error:
        if error.status not in _REFUSED:
            raise
        return False
    return bool(ids_in(choice_of(found).get("token_ids")))


def _optional(client: Client, url: str) -> Any:
    """What an endpoint need not have."""
    try:
        return client.get(url)
    except EndpointError:
        return None


def _list(body: Any) -> list[Mapping[str, Any]] | None:
    data = body.get("data") if isinstance(body, Mapping) else None
    return [one for one in data if isinstance(one, Mapping)] if isinstance(data, list) else None


def _card(listed: list[Mapping[str, Any]] | None, name: str) -> Mapping[str, Any]:
    """What the endpoint says of the model; nothing where it lists none, or says nothing of its models."""
    if not listed:
        return {}
    names = [str(one.get("id")) for one in listed]
    if name in names:
        return listed[names.index(name)]
    if any(name in (one.get("aliases") or ()) or name == one.get("root") for one in listed):
        return {}
    near = get_close_matches(name, names, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else f"; it lists: {', '.join(names[:8])}"
    raise ModelNotFoundError(f"the endpoint has no model {name!r}{hint}")


def _engine(card: Mapping[str, Any], version: Any) -> str:
    owner = card.get("owned_by")
    said = version.get("version") if isinstance(version, Mapping) else None
    meta = card.get("meta")  # of llama.cpp
    kind = meta.get("ftype") if isinstance(meta, Mapping) else None
    told = (owner, said, card.get("dtype"), kind)
    parts = [value for value in told if isinstance(value, str) and value]
    return _PLAIN.sub("", " ".join(parts))[:100]


def _context(card: Mapping[str, Any]) -> int | None:
    found = card.get("max_model_len")
    return found if isinstance(found, int) and not isinstance(found, bool) and found > 0 else None
