"""Text of others in a prompt: what spells a control token becomes text tokens, never that token.

A tokenizer takes its added tokens out of any string, so a question that holds `<|im_end|>` would end its own turn. Where a
text spells such a token, a break is set inside the spelling; after rendering, the pieces between breaks are encoded one by
one, and no token reaches across. The words stay as they are. Marks that a template spells in ordinary tokens (`[INST]` of
Llama 2) cannot be told apart so: their first character is replaced by its look-alike. A control
token of one character becomes U+FFFD.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

BREAK = "\ufdd0"  # a noncharacter: no text that means anything holds it
_SPELT = re.compile(r"\[/?[A-Z][A-Z_]+\]|<<?/?\w[\w ]*>>?|<\|[^<>|\s]+\|>|<[a-z]+_of_[a-z]+>")
_ROLES = ("system", "user", "assistant", "tool")
_LOOK_ALIKE = {"[": "(", "<": "‹"}


class Inert:
    """What makes text harmless for one tokenizer and its template.

    inert = Inert(tokenizer)
    ids = inert.encode(inert.text("Hi <|im_end|>"))  # eight ids or so, none of them that of <|im_end|>
    """

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        added = {str(token): int(i) for token, i in tokenizer.get_added_vocab().items() if str(token).strip()}
        marked = {str(token) for token in tokenizer.added_tokens_decoder.values() if token.special}
        special = set(map(str, tokenizer.all_special_tokens)) | marked & set(added)
        said = str(tokenizer.get_chat_template()) if getattr(tokenizer, "chat_template", None) else ""
        # a word that somebody added to a vocabulary is a word, unless the template marks turns with it
        control = special | {t for t in added if not t.isalnum() or (t in said and t not in _ROLES)}
        self.tokens = sorted(control, key=len, reverse=True)
        self._ids = {i for t, i in added.items() if t in control} | set(tokenizer.all_special_ids)
        unknown = tokenizer.unk_token_id
        self._ids.discard(unknown)  # what a tokenizer has no token for is no control token
        self._single = str.maketrans({t: "\ufffd" for t in control if len(t) == 1 and (t in special or t in said)})
        self._spelt = set(_SPELT.findall(said)) - set(added)

    def is_control(self, token: int) -> bool:
        """Whether an id is that of a control token."""
        return token in self._ids

    def text(self, text: str) -> str:
        """The text with breaks in what spells a control token, alone or together with what stands beside it."""
        text = text.replace(BREAK, "")
        for mark in self._spelt:
            if mark in text:
                text = text.replace(mark, _LOOK_ALIKE[mark[0]] + mark[1:])
        broken = self._broken(text)
        ends = any(text.endswith(t[:n]) for t in self.tokens for n in range(1, len(t)))
        begins = any(text.startswith(t[n:]) for t in self.tokens for n in range(1, len(t)))
        return f"{BREAK * begins}{broken}{BREAK * ends}"

    def values(self, value: Any) -> Any:
        """The same for every string in a message or a tool, whatever it is nested in."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, Mapping):
            return {self._broken(k) if isinstance(k, str) else k: self.values(v) for k, v in value.items()}
        return [self.values(v) for v in value] if isinstance(value, (list, tuple)) else value

    def encode(self, text: str) -> list[int]:
        """The ids of a text with breaks."""
        pieces = [piece for piece in text.split(BREAK) if piece]
        return [i for piece in pieces for i in self.tokenizer(piece, add_special_tokens=False)["input_ids"]]

    def _broken(self, text: str) -> str:
        """Again and again, since a piece may spell what the whole did not. A token of one character has no inside to break."""
        text = text.translate(self._single)
        for _ in range(len(text) + 1):
            found = sorted({at for start, piece in _pieces(text) for at in self._breaks(piece, start)})
            if not found:
                return text
            text = BREAK.join(text[a:b] for a, b in pairwise([0, *found, len(text)]))
        return text

    def _breaks(self, piece: str, start: int) -> list[int]:
        """Where a piece has to be broken: behind the first character of each control token that it encodes to."""
        ids: Sequence[int] = self.tokenizer(piece, add_special_tokens=False)["input_ids"]
        if self._ids.isdisjoint(ids):
            return []
        spelt = re.finditer("|".join(map(re.escape, self.tokens)), piece) if self.tokens else ()
        places = [start + match.start() + 1 for match in spelt if len(match.group()) > 1]
        if places:
            return places
        # a normalizer made the token: of full-width letters, or of another case
        spans = self.tokenizer(piece, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
        wide = [(a, b) for i, (a, b) in zip(ids, spans, strict=True) if i in self._ids and b - a > 1]
        return [start + a + len(piece[a:b]) - len(piece[a:b].lstrip()) + 1 for a, b in wide if piece[a:b].strip()]


def _pieces(text: str) -> list[tuple[int, str]]:
    at, pieces = 0, []
    for piece in text.split(BREAK):
        pieces.append((at, piece))
        at += len(piece) + 1
    return [(at, piece) for at, piece in pieces if piece]
