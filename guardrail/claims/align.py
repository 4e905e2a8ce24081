"""Characters of an answer -> the tokens it was generated as.

The ids are decoded as generation decoded them, a token more at a time; offsets of the text tokenised anew would describe
other tokens. A token that holds the end of one claim and the beginning of the next belongs to both, and so does one that holds
part of a UTF-8 character of each. Tokens that hold nothing of a claim (the end-of-turn token, special tokens, white space
between claims) belong to none: the score of a whole answer includes them, a claim's does not.
"""

from __future__ import annotations

import unicodedata
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from rapidfuzz.distance import Indel, Prefix

from guardrail.errors import ScoringError
from guardrail.types import Aside, Claim, Claims, Trace

Span = tuple[int, int]

# Tokens decoded before a new one: what a decoder does at the beginning of a text (dropping a space) stays out.
_CONTEXT = 16
# Tokens without a clean boundary before everything so far is decoded anew.
_PATIENCE = 24
# Tokens that a character and what joins it may take.
_CHARACTER = 8
# Characters of two texts that are compared at a time, and the most of them; what that takes grows with their square.
_PART = 2048
_LARGEST_PART = 16384


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


def token_places(trace: Trace, tokenizer: Any, claims: Sequence[Claim]) -> list[Span | None]:
    """As `token_spans`, of claims in a trace's text. Of one that begins in what was given the rest alone has tokens."""
    given = len(trace.prefix) if trace.text.startswith(trace.prefix) else 0
    rest = trace.text[given:]
    given += len(rest) - len(rest.lstrip())  # a response's text is stripped
    spans = [(max(given, claim.start) - given, claim.end - given) for claim in claims]
    inside = [span for span in spans if span[1] > span[0]]
    found = iter(token_spans(trace.response_ids, trace.text[given:], tokenizer, inside))
    return [next(found) if end > start else None for start, end in spans]


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
    """Tokens that spell the text by themselves are taken as they come; what stands between those is decoded in its place."""
    whole, begun = [0], [0]
    clean = [0]  # tokens at the last clean boundaries: all characters before are complete
    spelling = _Spelling(tokenizer)
    while (k := len(whole) - 1) < len(ids):
        at = whole[-1]
        spelt = spelling.of(ids, k) if at else None  # decoders change what a text begins with
        if spelt and decoded.startswith(spelt[-1], at):
            ends = [at + Prefix.similarity(part, decoded[at : at + len(part)]) for part in spelt]
            whole += ends
            begun += [min(end + 1, len(decoded)) for end in ends[:-1]] + ends[-1:]
        else:
            for end, is_clean in _decoded_ends(tokenizer, ids, decoded, clean[0], k, at):
                whole.append(max(whole[-1], end))
                begun.append(max(begun[-1], whole[-1] if is_clean else min(whole[-1] + 1, len(decoded))))
        clean.append(len(whole) - 1)
        while len(clean) > 2 and clean[1] <= clean[-1] - _CONTEXT:
            clean.pop(0)
    return _Growth(whole, begun)


class _Spelling:
    """What a few tokens add to a text, remembered: most of them add the same wherever they stand."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._before: list[int] = tokenizer("a", add_special_tokens=False)["input_ids"]
        self._before_text = _decode(tokenizer, self._before)
        self._known: dict[tuple[int, ...], str | None] = {}

    def of(self, ids: list[int], k: int) -> list[str] | None:
        """What `ids[k:k+1]`, `ids[k:k+2]` and so on add, up to the first that is made of whole characters; None without one."""
        parts: list[str] = []
        for end in range(k + 1, min(k + _CHARACTER, len(ids)) + 1):
            tokens = tuple(ids[k:end])
            if tokens not in self._known:
                text = _decode(self._tokenizer, [*self._before, *tokens])
                follows = self._before_text and text.startswith(self._before_text)
                self._known[tokens] = text[len(self._before_text) :] if follows else None
            part = self._known[tokens]
            if part is None:
                return None
            parts.append(part)
            if "\ufffd" not in part:
                return parts
        return None


def _decoded_ends(
    tokenizer: Any, ids: list[int], decoded: str, base: int, begin: int, at: int
) -> Iterator[tuple[int, bool]]:
    """For the tokens from `begin` to the next clean boundary: how far the text is complete after each, and whether that is one.

    base: a clean boundary before. at: what is complete at `begin`. Ever fewer tokens are looked at where none comes, and those
    between two with the same end have it, too: the whole takes time in proportion to its length.
    """
    prior = _decode(tokenizer, ids[base:begin])

    def end_of(k: int) -> tuple[int, bool]:
        window = _decode(tokenizer, ids[base:k])
        if not window.startswith(prior):
            return at, False
        added = window[len(prior) :]
        same = Prefix.similarity(added, decoded[at : at + len(added)])
        return at + same, same == len(added)

    k, reached, waited = begin, at, 0
    while k < len(ids):
        if waited >= _PATIENCE and base:
            base, prior, at = 0, "", 0
        following = min(k + (1 if waited < _PATIENCE else waited), len(ids))
        end, is_clean = end_of(following)
        if end > reached and following > k + 1:  # it grew somewhere between
            following = bisect_left(range(following), reached + 1, lo=k + 1, key=lambda between: end_of(between)[0])
            end, is_clean = end_of(following)
        yield from [(reached, False)] * (following - k - 1)
        yield end, is_clean
        if is_clean:
            return
        waited = 0 if end > reached and waited >= _PATIENCE else waited + following - k
        k, reached = following, max(reached, end)


def _places(text: str, decoded: str) -> Sequence[int | None]:
    """For each character of the text, where it is in the decoded ids."""
    lead, core = len(decoded) - len(decoded.lstrip()), text.strip()
    if decoded.startswith(core, lead):
        shift = lead - (len(text) - len(text.lstrip()))
        return [i + shift if 0 <= i + shift < len(decoded) else None for i in range(len(text))]
    ours, ours_at = _folded(text)
    theirs, theirs_at = _folded(decoded)
    places: list[int | None] = [None] * len(text)
    for i, j in _pairs(ours, theirs):
        places[ours_at[i]] = theirs_at[j]
    return places


def _pairs(ours: str, theirs: str) -> Iterator[tuple[int, int]]:
    """The characters that two texts have in common, in order: (i, j) for `ours[i] == theirs[j]`.

    A part of each is compared at a time, as long as the rest of both suggests, and what lies near the end of a part again with
    the next; the longer they have little in common the larger the parts, up to where nothing behind is taken for the same.
    """
    i = j = 0
    part = _PART
    while i < len(ours) and j < len(theirs):
        longer = max(len(ours) - i, len(theirs) - j)
        m, n = (max((rest * part) // longer, _PART // 8) for rest in (len(ours) - i, len(theirs) - j))
        found = [
            (i + block.src_start + k, j + block.dest_start + k)
            for block in Indel.opcodes(ours[i : i + m], theirs[j : j + n])
            if block.tag == "equal"
            for k in range(block.src_end - block.src_start)
        ]
        if longer <= part:
            yield from found
            return
        sure = [pair for pair in found if pair[0] < i + m // 2 and pair[1] < j + n // 2]
        if sure and max(sure[-1][0] - i, sure[-1][1] - j) >= part // 8:
            yield from sure
            i, j = sure[-1][0] + 1, sure[-1][1] + 1
            part = _PART
        elif part < _LARGEST_PART:
            part *= 2
        else:
            yield from sure
            return


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
