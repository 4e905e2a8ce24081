"""How a model marks its tool calls, read off its chat template and its tokenizer; where a response has such marks.

A marker that the tokenizer has a token for counts where that token was generated. Spelt out in other tokens, as in a sentence
about calls, it is text. Where the tokenizer has no token for it, the marker counts as text only if the template spells it,
and only if the whole response consists of calls.
The same forms say how to spell a call that is asked for.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from guardrail.model.constraint import Constraint, Form
from guardrail.types import Tool

HERMES, MISTRAL = "<tool_call>", "[TOOL_CALLS]"
MARKERS = (HERMES, MISTRAL)
"""What stands before a call: of Hermes and Qwen, of Mistral."""

_NAMED = "[ARGS]"
_ON_LINES = re.compile(rf"{HERMES}(?:\n|\\n)")  # as it is, or as a string in the template spells it
_MARKER = re.compile("|".join(map(re.escape, MARKERS)))


@dataclass(frozen=True, slots=True)
class MarkedText:
    """A response in characters. markers: where its calls are marked, ascending. exact: the markers are control tokens, not
    spelt text. bare: whether a response of nothing but JSON may be a call."""

    text: str
    markers: tuple[int, ...]
    exact: bool = False
    bare: bool = False


@dataclass(frozen=True, slots=True)
class CallForms:
    """The forms of one model. tokens: the id of each marker that the tokenizer has a token for. spelt: markers that the
    template spells and the tokenizer has no token for. bare: the template has no marker, so calls are bare JSON, as Llama
    3's are. taught: what the template spells. named: it has a call's name before its arguments, as Mistral's newer ones.
    lines: the marks of a call stand on lines of their own."""

    tokens: Mapping[int, str]
    spelt: frozenset[str]
    bare: bool
    taught: tuple[str, ...] = ()
    named: bool = False
    lines: bool = False

    @classmethod
    def of(cls, tokenizer: Any) -> CallForms:
        """The forms of the model that has this tokenizer, its chat template included."""
        template = _tool_template(tokenizer)
        ids = {marker: _id_of(tokenizer, marker) for marker in MARKERS}
        tokens = {i: marker for marker, i in ids.items() if i is not None}
        taught = [marker for marker in MARKERS if marker in template]
        spelt = frozenset(m for m in taught if ids[m] is None)
        return cls(tokens, spelt, not taught, tuple(taught), _NAMED in template, bool(_ON_LINES.search(template)))

    def constraint(self, tools: Sequence[Tool]) -> Constraint:
        """One call, of one of the tools, as the template spells calls."""
        return Constraint(tuple(self._form(tool["function"]) for tool in tools))

    def _form(self, function: Mapping[str, Any]) -> Form:
        name, arguments = function["name"], dict(function.get("parameters") or {"type": "object", "properties": {}})
        definitions = {key: arguments.pop(key) for key in ("$defs", "definitions") if key in arguments}
        if MISTRAL in self.taught and self.named:
            return Form(json.dumps({**arguments, **definitions}), f"{MISTRAL}{name}{_NAMED}")
        key = "arguments" if self.taught else "parameters"
        parts = {"name": {"const": name}, key: arguments}
        call = {"type": "object", "properties": parts, "required": ["name", key]}
        if HERMES in self.taught:
            line = "\n" if self.lines else ""
            return Form(json.dumps({**call, **definitions}), f"{HERMES}{line}", f"{line}</tool_call>")
        if MISTRAL in self.taught:
            one = {"type": "array", "prefixItems": [call], "items": False, "minItems": 1}
            return Form(json.dumps({**one, **definitions}), f"{MISTRAL} ")
        return Form(json.dumps({**call, **definitions}))

    def mark(self, tokenizer: Any, ids: Sequence[int]) -> MarkedText:
        """The text of response ids, special tokens included, and where it has markers that count."""
        pieces: list[str] = []
        markers: list[int] = []
        length = 0
        for piece in _split(ids, self.tokens):
            marker = self.tokens.get(piece[0]) if len(piece) == 1 else None
            markers += [] if marker is None else [length]
            pieces.append(tokenizer.decode(piece) if marker is None else marker)
            length += len(pieces[-1])
        text, exact = "".join(pieces), bool(markers)
        if not exact:
            markers = [at for at in spelt_markers(text) if any(text.startswith(m, at) for m in self.spelt)]
        return MarkedText(text, tuple(markers), exact, self.bare)


def spelt_markers(text: str) -> list[int]:
    """Where a text spells a marker."""
    return [found.start() for found in _MARKER.finditer(text)]


def _split(ids: Sequence[int], tokens: Collection[int]) -> Iterator[list[int]]:
    """The ids in pieces; each marker is a piece of its own."""
    piece: list[int] = []
    for i in ids:
        if i in tokens:
            if piece:
                yield piece
            yield [i]
            piece = []
        else:
            piece.append(i)
    if piece:
        yield piece


def _tool_template(tokenizer: Any) -> str:
    """The source of the template that shows tools; some tokenizers have one of its own for them."""
    template = getattr(tokenizer, "chat_template", None)
    if isinstance(template, Mapping):
        template = template.get("tool_use", template.get("default"))
    return template or ""


def _id_of(tokenizer: Any, marker: str) -> int | None:
    found = tokenizer.convert_tokens_to_ids(marker)
    return None if found is None or found == tokenizer.unk_token_id else int(found)
