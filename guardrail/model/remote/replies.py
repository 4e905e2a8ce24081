"""A `chat.completion` -> what was said, and the log-probabilities of its tokens where they are those of the text.

Strict in what it concludes: whatever is not there, has another length or spells another text is no log-probability, and says
why.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from guardrail.errors import EndpointError

_ROUNDING = 1e-4  # nats above 0 that engines in low precision give for what is certain
_SLACK = 256  # bytes of white space around an answer that its message goes without
_THOUGHT = re.compile(r"\s*<think>(.*?)</think>", re.DOTALL)


class Token(NamedTuple):
    """data: its bytes. log_prob: under the model, nats. top: the likeliest tokens at its place, with theirs. id: in the model's
    vocabulary; None where the endpoint does not say."""

    data: bytes
    log_prob: float
    top: tuple[tuple[bytes, float], ...] = ()
    id: int | None = None


@dataclass(frozen=True, slots=True)
class Reply:
    """What an endpoint said.

    Attributes:
        text: The answer.
        finish: `length` where the token limit cut it.
        tokens: Of the answer, those that spell it, and maybe the end of its turn; None where they are not known.
        ended: Whether the last of `tokens` is the end of the turn, which is no part of the text.
        why: Why `tokens` are not known; empty where they are.
        thinking: What was thought before the answer, without marks.
        unfinished_thinking: Whether the limit came before the answer began.
        stop_string: Whether the endpoint says that a stop string ended it.
        prompt_tokens: How many the endpoint read; None where it does not say.
        prompt_ids: Their ids, where it gives them.
        token_ids: The ids of all that was generated, where it gives them; the end of the turn may be missing.
        written: How many tokens were generated, its end counted or not; None where the endpoint does not say.
        fingerprint: What it calls its set-up; empty where it does not say.
    """

    text: str
    finish: Literal["stop", "length"]
    tokens: tuple[Token, ...] | None = None
    ended: bool = False
    why: str = ""
    thinking: str = ""
    unfinished_thinking: bool = False
    stop_string: bool = False
    prompt_tokens: int | None = None
    prompt_ids: tuple[int, ...] | None = None
    token_ids: tuple[int, ...] | None = field(default=None, repr=False)
    written: int | None = None
    fingerprint: str = ""


def reply_of(body: Any) -> Reply:
    """What a `chat.completion` says. Raises `EndpointError` for anything else."""
    choice = choice_of(body)
    message = choice.get("message")
    if not isinstance(message, Mapping):
        raise _unusable("its choice has no message")
    content = message.get("content")
    if content is None and message.get("tool_calls"):
        raise _unusable("it calls a tool, and none was offered")
    if content is None and not _thought_of(message):
        content = ""  # said nothing
    if content is not None and not isinstance(content, str):
        raise _unusable(f"its content is {type(content).__name__}, not a text")
    usage = body.get("usage")
    counts = usage if isinstance(usage, Mapping) else {}
    told = log_probs_in(choice.get("logprobs"))
    return said(
        content or "",
        choice.get("finish_reason"),
        told,
        thought=_thought_of(message),
        stop_string=isinstance(choice.get("stop_reason"), str),
        prompt_tokens=count_in(counts, "prompt_tokens"),
        prompt_ids=ids_in(body.get("prompt_token_ids")),
        token_ids=ids_in(choice.get("token_ids")) or ids_of(told),
        written=count_in(counts, "completion_tokens"),
        fingerprint=fingerprint_of(body),
    )


def said(text: str, finish: Any, told: tuple[Token, ...] | str, *, thought: str = "", **more: Any) -> Reply:
    """The Reply of a text. finish: as the endpoint has it. told: its tokens, or why there are none."""
    if finish not in ("stop", "length"):
        raise _unusable(f"its finish reason is {finish!r:.40}, neither stop nor length")
    unfinished = False
    if (marked := _THOUGHT.match(text)) is not None:
        thought, text = thought or marked[1], text[marked.end() :]
    elif text.lstrip().startswith("<think>"):
        thought, text, unfinished = text.lstrip().removeprefix("<think>"), "", True
    text = text.strip()
    unfinished = unfinished or (bool(thought.strip()) and not text and finish == "length")
    tokens, ended, why = None, False, told if isinstance(told, str) else ""
    if not isinstance(told, str):
        found = spelling(told, text, behind=bool(thought.strip()))
        if found is None:
            why = f"the {len(told)} tokens with log-probabilities spell another text than the answer"
        else:
            tokens, ended = found
    return Reply(text, finish, tokens, ended, why, thought.strip(), unfinished, **more)


def spelling(tokens: Sequence[Token], text: str, *, behind: bool) -> tuple[tuple[Token, ...], bool] | None:
    """The tokens that spell a text, and whether the last of them ends the turn; None where none do.

    behind: whether others may stand before them, which were thought.

        spelling([Token(b" Tok", -1.0), Token(b"yo", -0.1), Token(b"<end>", -0.2)], "Tokyo", behind=False)   # all, True
    """
    wanted = len(text.encode())
    for ended in (False, True):
        body = tokens[: len(tokens) - ended]
        if ended and not tokens:
            return None
        size, start = 0, len(body)
        while True:
            if size >= wanted and _text(body[start:]).strip() == text:
                before = _text(body[:start])
                if not before.strip():
                    start = 0
                elif not behind:
                    break
                end = ended or (bool(body) and not body[-1].data)
                return tuple(tokens[start:]), end
            if not start or size > wanted + _SLACK:
                break
            start -= 1
            size += len(body[start].data)
    return None


def log_probs_in(value: Any) -> tuple[Token, ...] | str:
    """The tokens that `logprobs` tells of, or why it tells of none."""
    content = value.get("content") if isinstance(value, Mapping) else None
    if content is None:
        return "the endpoint gave no log-probabilities"
    if not isinstance(content, Sequence) or isinstance(content, str):
        raise _unusable("its logprobs.content is no list")
    found: list[Token] = []
    for entry in content:
        token = _token(entry)
        if token is None:
            return f"the log-probability of token {len(found) + 1} of {len(content)} is missing or none"
        top = entry.get("top_logprobs") or ()
        others = [_token(other) for other in top] if isinstance(top, Sequence) else []
        found.append(token._replace(top=tuple((o.data, o.log_prob) for o in others if o is not None)))
    return tuple(found)


def ids_of(told: tuple[Token, ...] | str) -> tuple[int, ...] | None:
    """The ids of tokens with log-probabilities, as llama.cpp gives them; None unless all have one."""
    found = [] if isinstance(told, str) else [token.id for token in told if token.id is not None]
    return tuple(found) if found and len(found) == len(told) else None


def fingerprint_of(body: Mapping[str, Any]) -> str:
    """What a completion, or a chunk of one, calls the set-up that made it."""
    value = body.get("system_fingerprint")
    return value[:200] if isinstance(value, str) else ""


def choice_of(body: Any) -> Mapping[str, Any]:
    """The first choice of a completion. Raises `EndpointError` where there is none."""
    choices = body.get("choices") if isinstance(body, Mapping) else None
    if not isinstance(choices, Sequence) or not choices or not isinstance(choices[0], Mapping):
        raise _unusable("it has no choices")
    return choices[0]


def _token(entry: Any) -> Token | None:
    if not isinstance(entry, Mapping) or not isinstance(entry.get("token"), str):
        return None
    log_prob, raw = entry.get("logprob"), entry.get("bytes")
    if isinstance(log_prob, bool) or not isinstance(log_prob, (int, float)):
        return None
    if not math.isfinite(log_prob) or log_prob > _ROUNDING:
        return None
    if raw is None:
        data = str(entry["token"]).encode("utf-8", errors="replace")
    elif isinstance(raw, Sequence) and all(_is_count(b) and b < 256 for b in raw):
        data = bytes(raw)
    else:
        return None
    own = entry.get("id")
    return Token(data, min(float(log_prob), 0.0), id=own if _is_count(own) else None)


def _thought_of(message: Mapping[str, Any]) -> str:
    found = message.get("reasoning_content") or message.get("reasoning")
    return found if isinstance(found, str) else ""


def ids_in(value: Any) -> tuple[int, ...] | None:
    """A list of token ids; None for anything else."""
    if not isinstance(value, Sequence) or isinstance(value, str) or not all(map(_is_count, value)):
        return None
    return tuple(value)


def count_in(usage: Mapping[str, Any], name: str, otherwise: int | None = None) -> int | None:
    """How many tokens `usage` counts under a name; `otherwise` where it does not say."""
    value = usage.get(name)
    return value if _is_count(value) else otherwise


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _text(tokens: Sequence[Token]) -> str:
    return b"".join(token.data for token in tokens).decode("utf-8", errors="replace")


def _unusable(why: str) -> EndpointError:
    return EndpointError(
        f"what the endpoint answered is no chat completion: {why}; see whether the address ends in /v1"
    )
