"""How a `retry` rule lets the model answer once more: with the beginning of its reply given."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, Field

from guardrail.plain_text import is_blank, trimmed
from guardrail.policy.bounds import Mapping, wrong

LONGEST_PREFIX = 500
"""Characters of the beginning of a reply."""


def _prefix(value: object) -> object:
    """Without outer white space: a model that reads some at the end goes on in words that it never would have said."""
    if isinstance(value, str):
        if is_blank(value):
            raise wrong('is empty; write how the reply has to begin, such as "In one word:"')
        return trimmed(value)
    return value


class Retry(Mapping):
    """prefix: how the reply has to begin, as text of the assistant's turn; the model goes on from there."""

    prefix: Annotated[str, BeforeValidator(_prefix), Field(max_length=LONGEST_PREFIX)]
