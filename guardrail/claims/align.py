"""Characters of an answer -> the tokens it was generated as.

The ids are decoded as generation decoded them, a token more at a time; offsets of the text tokenised anew would describe
other tokens. A token that holds the end of one claim and the beginning of the next belongs to both, and so does one that holds
part of a UTF-8 character of each. Tokens that hold nothing of a claim (the end-of-turn token, special tokens, white space
between claims) belong to none: the score of a whole answer includes them, a claim's does not.
"""

from __future__ import annotations

import unicodedata
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rapidfuzz.distance import Indel, Prefix

from guardrail.errors import ScoringError
from guardrail.types import Aside, Claim, Claims

Span = tuple[int, int]

# Tokens decoded before a new one: what a decoder does at the beginning of a text (dropping a space) stays out.
_CONTEXT = 16
# Tokens without a clean boundary before everything so far is decoded anew.
_PATIENCE = 24


def token_spans(response_ids: Sequence[int], text: str, tokenizer: Any, spans: Sequence[Span]) -> list[Span | None]:
    """The tokens of each span of characters: the smallest `response_ids[start:end]` that holds all of `text[a:b]`.

    response_ids: of a Trace, of shape (T,). text: the Trace's, `decode(response_ids)` without special tokens, stripped or cut
    at a stop string, or a given text that the tokenizer changed (lower case, unknown characters). spans: half-open, in
    characters of `text`, none empty. None: the tokenizer changed the span's first or last character, or half of the span,
    beyond recognition.

        token_spans(trace.response_ids, trace.text, model.tokenizer, [(0, 5)])   # [(0, 2)]

    Raises `ScoringError` for a span that is empty or not inside the text.
    """
    for start, end in spans:
        if not 0 <= start < end <= len(text):
            raise ScoringError(
                f"the span ({start}, {end}) is empty or not inside a text of {len(text)} characters; give 0 <= start < end"
            )
    if not spans:
        return []
    ids = list(response_ids)
    decoded = _decode(tokenizer, ids)
    growth = _grow(tokenizer, ids, decoded)
    places = _places(text, decoded)
    found: list[Span | None] = []
    for start, end in spans:
        first, last = places[start], places[end - 1]
        known = sum(place is not None for place in places[start:end])
        clear = first is not None and last is not None and 2 * known >= end - start - text[start:end].count(" ")
        found.append(growth.tokens(first, last + 1) if clear and first is not None and last is not None else None)
    return found


def with_tokens(
    claims: Claims, response_ids: Sequence[int], text: str, tokenizer: Any
) -> tuple[Claims, tuple[Span, ...]]:
    """The claims that have tokens, and those tokens, in the same order; the others become asides ("unaligned")."""
    spans = token_spans(response_ids, text, tokenizer, [(c.start, c.end) for c in claims.claims])
    pairs: list[tuple[Claim, Span]] = []
    lost: list[Aside] = []
    for claim, span in zip(claims.claims, spans, strict=True):
        if span is None:
            lost.append(Aside(claim.text, None, None, "unaligned"))
        else:
            pairs.append((claim, span))
    kept = Claims(tuple(claim for claim, _ in pairs), (*claims.asides, *lost))
    return kept, tuple(span for _, span in pairs)


@dataclass(frozen=True, slots=True)
class _Growth:
    """How a text grows with its tokens. For k = 0 .. T: `whole[k]` characters are complete after k tokens; `begun[k]` of them
    are complete or begun (a token ended inside the bytes of a character). Both never fall."""

    whole: list[int]
    begun: list[int]

    def tokens(self, start: int, end: int) -> Span | None:
        """From the first token that holds a part of character `start` to the one that completes character `end - 1`."""
        first = bisect_right(self.begun, start) - 1
        last = bisect_left(self.whole, end)
        return (first, last) if first < last < len(self.whole) else None


def _decode(tokenizer: Any, ids: list[int]) -> str:
    text: str = tokenizer.decode(ids, skip_special_tokens=True)
    return text


def _grow(tokenizer: Any, ids: list[int], decoded: str) -> _Growth:
    """Decodes ever longer prefixes, in windows from one clean boundary (all characters complete) to the next."""
    whole, begun = [0], [0]
    clean = [0]  # tokens at the last clean boundaries
    base, prior = 0, ""  # a window's first token, and its text up to the last clean boundary
    tokens = chars = 0  # the last clean boundary
    for k in range(1, len(ids) + 1):
        if k - tokens > _PATIENCE:
            base, prior, tokens, chars = 0, "", 0, 0
        window = _decode(tokenizer, ids[base:k])
        added = window[len(prior) :]
        same = Prefix.similarity(added, decoded[chars : chars + len(added)]) if window.startswith(prior) else 0
        whole.append(max(whole[-1], chars + same))
        if same == len(added) and window.startswith(prior):
            begun.append(max(begun[-1], whole[-1]))
            tokens, chars = k, chars + same
            clean.append(k)
            while len(clean) > 2 and clean[1] <= k - _CONTEXT:
                clean.pop(0)
            prior = window if base == clean[0] else _decode(tokenizer, ids[clean[0] : k])
            base = clean[0]
        else:
            begun.append(max(begun[-1], min(whole[-1] + 1, len(decoded))))
    return _Growth(whole, begun)


def _places(text: str, decoded: str) -> Sequence[int | None]:
    """For each character of the text, where it is in the decoded ids."""
    lead, core = len(decoded) - len(decoded.lstrip()), text.strip()
    if decoded.startswith(core, lead):
        shift = lead - (len(text) - len(text.lstrip()))
        return [i + shift if 0 <= i + shift < len(decoded) else None for i in range(len(text))]
    ours, ours_at = _folded(text)
    theirs, theirs_at = _folded(decoded)
    places: list[int | None] = [None] * len(text)
    for block in Indel.opcodes(ours, theirs):
        if block.tag == "equal":
            sources, targets = range(block.src_start, block.src_end), range(block.dest_start, block.dest_end)
            for i, j in zip(sources, targets, strict=True):
                places[ours_at[i]] = theirs_at[j]
    return places


def _folded(text: str) -> tuple[str, list[int]]:
    """The text as tokenizers that normalise see it (no case, accents, compatibility forms or white space), and each
    character's place in the text itself."""
    folded: list[str] = []
    places: list[int] = []
    for i, char in enumerate(text):
        for part in unicodedata.normalize("NFKD", char.casefold()):
            if not part.isspace() and not unicodedata.combining(part):
                folded.append(part)
                places.append(i)
    return "".join(folded), places
