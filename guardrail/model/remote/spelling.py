"""Tokens of an endpoint, whose vocabulary nobody here has: an id spells its token.

So a Trace of a remote answer is decoded, cut and aligned as any other, by the same code, and needs no table that grows. Such
an id is good for nothing else: no model takes it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

from guardrail.errors import ModelError

END = 0
"""The id that stands for the end of a turn, however the model spells it."""

_WORD = re.compile(r"\s*\S+|\s+")


def spelt(token: bytes) -> int:
    """The id of a token, from its bytes: a number above 255 and different for each.

    spelt(b"a")   # 0x0161
    """
    return int.from_bytes(b"\x01" + token)


def bytes_of(token: int) -> bytes:
    """The bytes that an id spells; none for the end of a turn."""
    size = (token.bit_length() + 7) // 8
    return token.to_bytes(size)[1:] if token else b""


def words_of(text: str) -> list[int]:
    """Ids that spell a text of which no tokens are known, a word each with the white space before it."""
    return [spelt(word.encode()) for word in _WORD.findall(text)]


class Speller:
    """What the pipeline asks of a tokenizer, for ids that spell their tokens."""

    chat_template: None = None
    """The endpoint has it, and shows it to nobody."""

    added_tokens_decoder: dict[int, Any] = {}  # noqa: RUF012  (as a tokenizer has it; nothing is put in)

    def __call__(self, text: str, **_: Any) -> dict[str, list[int]]:
        return {"input_ids": words_of(text)}

    def decode(self, ids: Sequence[int] | Iterable[int], *, skip_special_tokens: bool = True) -> str:
        """The text; half a character is U+FFFD. The end of a turn has none, skipped or not."""
        return b"".join(map(bytes_of, ids)).decode("utf-8", errors="replace")

    def convert_ids_to_tokens(self, token: int) -> str:
        return self.decode([token])

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise ModelError(f"a model behind an endpoint shows no tokenizer, so there is no {name!r} of it")
