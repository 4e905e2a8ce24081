"""Options that people hand to any chat model: which of them a local model can do without, and which it cannot keep."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from difflib import get_close_matches
from typing import Any

from guardrail.errors import ModelError

WITHOUT_EFFECT = frozenset({"api_key", "max_retries", "organization", "stream_usage"})
"""Taken with any value and not kept: there is no server to log in at, a call that failed here would fail again, and usage is
in every answer."""

LANGCHAINS = frozenset({"stream", "ls_structured_output_format"})
"""What LangChain itself hands to a call; without effect here."""

KEPT: Mapping[str, tuple[Any, str]] = {
    "base_url": (None, "the model runs here, and at no other place"),
    "frequency_penalty": (0, "an answer's likelihood is the model's own"),
    "logit_bias": (None, "an answer's likelihood is the model's own"),
    "logprobs": (False, "a message has the score of its answer and not its tokens' likelihoods"),
    "n": (1, "a call has one answer, which is judged (batch gives several)"),
    "parallel_tool_calls": (True, "nothing keeps a local model from several calls in a turn"),
    "presence_penalty": (0, "an answer's likelihood is the model's own"),
    "response_format": (None, "it belongs to a call (with_structured_output, or bind)"),
    "strict": (False, "what the model says beside a call is free (tool_choice and with_structured_output are kept)"),
    "top_k": (None, "sampling draws from the whole vocabulary"),
    "top_logprobs": (None, "a message has the score of its answer and not its tokens' likelihoods"),
    "top_p": (1, "sampling draws from the whole vocabulary"),
}
"""Options that would change the answer or the message: the value that holds here anyway, as None does, and why no other can."""


class UnknownOptionError(ModelError, ValueError):
    """An option that does not exist; where a chat model is built, pydantic's `ValidationError` says it."""


def check_kept(given: Mapping[str, Any]) -> None:
    """Raises `ModelError` for what other chat models promise, and a local one cannot keep."""
    for name, (kept, why) in KEPT.items():
        if name in given and given[name] is not None and given[name] != kept:
            raise ModelError(f"{name}={given[name]!r:.40} cannot be kept, for {why}; leave it out")


def own_options(given: Mapping[str, Any], known: Collection[str], owner: str) -> dict[str, Any]:
    """What is given of the options that there are.

    Args:
        given: The options, by name.
        known: Those that `owner` has.
        owner: Who takes them, for people.

    Raises:
        UnknownOptionError: For an option that does not exist, with the nearest one.
        ModelError: For one that cannot be kept.
    """
    check_kept(given)
    taken = WITHOUT_EFFECT | KEPT.keys()
    for name in given.keys() - known - taken:
        raise UnknownOptionError(f"{owner} has no option {name!r}; {_hint(name, known, taken)}")
    return {name: value for name, value in given.items() if name in known}


def _hint(name: str, known: Iterable[str], taken: Iterable[str]) -> str:
    near = get_close_matches(name, [*known, *taken], n=1)
    return f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(sorted(known))}"
