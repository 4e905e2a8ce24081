"""What ends a response before its end token: stop strings, and whoever watches its steps.

The text is cut before the first stop string. The tokens that stay are the shortest prefix that spells the text before it,
so every character that is shown is scored; where a token holds the end of the text and the beginning of the stop string,
it stays whole. There is no end-of-turn token then: the model has not ended its turn.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from numbers import Integral, Real
from typing import Any

import torch
from torch import Tensor
from transformers import StoppingCriteria

from guardrail.errors import ModelError
from guardrail.types import Trace

Snapshot = Callable[[], list[Trace]]
"""Makes the Traces so far, with what generation kept for scoring."""

OnStep = Callable[[list[list[int]], Snapshot], bool | None]
"""Called after each token with the ids of every row's answer so far, without its thinking. It may use the model and draw
random numbers: the generation goes on as if it had not. Where it returns True the generation ends as at its limit, with the
responses so far; an exception that it raises ends the generation without one."""

WithoutSideEffects = Callable[[], AbstractContextManager[object]]
"""Makes a context whose computations leave no trace in the generation."""

_BYTES = 4  # of one UTF-8 character, and so the most tokens that it takes
_SHRINKS = 8  # characters that a text may lose by a token more: a decoder takes spaces out, or completes a character
_HALF = "\ufffd"  # what half a character decodes to


def check_stops(stops: str | Sequence[str] | None) -> tuple[str, ...]:
    """Stop strings as a tuple, none for None. Raises `ModelError` for an empty one, which would stop before the start."""
    if stops is not None and not isinstance(stops, Iterable):
        raise ModelError(f"stop strings are one text or a list of texts, not {stops!r:.80}")
    found = (stops,) if isinstance(stops, str) else tuple(stops or ())
    if not all(isinstance(s, str) and s for s in found):
        raise ModelError(f"stop strings are texts that are not empty, not {found!r:.80}")
    return found


def check_decoding(max_new_tokens: object, temperature: object, seed: object) -> None:
    """Raise `ModelError` for a token limit, a temperature or a seed that is of another type or out of range."""
    if not _is(max_new_tokens, Integral) or max_new_tokens < 1:  # type: ignore[operator]
        raise ModelError(f"max_new_tokens is {max_new_tokens!r:.80}; it must be at least 1, a whole number")
    if not _is(temperature, Real) or not 0 <= temperature < float("inf"):  # type: ignore[operator]
        raise ModelError(f"temperature is {temperature!r:.80}; it must be 0 (greedy) or a positive number")
    if seed is not None and not (_is(seed, Integral) and -(2**63) <= seed < 2**64):  # type: ignore[operator]
        raise ModelError(f"seed is {seed!r:.80}; it must fit into 64 bits: a whole number from -2**63 to 2**64 - 1")


def _is(value: object, kind: type) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool)


def cut(tokenizer: Any, ids: list[int], stops: Sequence[str]) -> tuple[list[int], str | None]:
    """The ids that spell the text before the first stop string, and that text; the ids and None where there is none."""
    if not stops:
        return ids, None
    tokens = special_ids(tokenizer, stops)
    if (first := next((k for k, i in enumerate(ids) if i in tokens), None)) is not None:
        kept, shown = cut(tokenizer, ids[:first], stops)
        return kept, tokenizer.decode(kept, skip_special_tokens=True) if shown is None else shown
    text: str = tokenizer.decode(ids, skip_special_tokens=True)
    at = min((i for s in stops if (i := text.find(s)) >= 0), default=None)
    if at is None:
        return ids, None
    return prefix_spelling(tokenizer, ids, text[:at]), text[:at]


def prefix_spelling(tokenizer: Any, ids: list[int], text: str) -> list[int]:
    """The shortest prefix of the ids that spells `text`, white space before it aside; all of them where none does.

    From the end, since what follows the text is a matter of a few tokens.
    """
    shortest = len(ids)
    for k in reversed(range(len(ids))):
        begun: str = tokenizer.decode(ids[:k], skip_special_tokens=True)
        if begun.startswith(text) or begun.lstrip().startswith(text):
            shortest = k
        elif len(begun) < len(text) - _SHRINKS:
            break
    return ids[:shortest]


def is_stopped(tokenizer: Any, ids: Sequence[int], stops: Sequence[str]) -> bool:
    """Whether a stop string has come up in an answer that may end in half a character, which decodes to U+FFFD.

    Args:
        tokenizer: Decodes the ids.
        ids: The answer so far, of shape (T,). A stop string that was spelt more than its own length ago may be missed.
        stops: Stop strings that are no special tokens.
    """
    if any(_HALF in stop for stop in stops):
        text = tokenizer.decode(ids, skip_special_tokens=True).rstrip(_HALF)
        return any(stop in text for stop in stops)
    tail = ids[-_BYTES * (max(map(len, stops), default=0) + 1) :]
    for skipped in range(_BYTES):  # the tail may begin inside a character, which then spoils the bytes behind it
        text = tokenizer.decode(tail[skipped:], skip_special_tokens=True)
        if any(stop in text for stop in stops):
            return True
        if not text.startswith(_HALF):
            return False
    return False


def special_ids(tokenizer: Any, stops: Sequence[str]) -> set[int]:
    """The ids of stop strings that are special tokens, white space around them or not: a decoded text does not show those."""
    known = tokenizer.added_tokens_decoder.items() if stops else ()
    meant = {*stops, *(stop.strip() for stop in stops)}
    return {int(i) for i, token in known if token.special and str(token) in meant}


def until_end(row: list[int], eos: Sequence[int]) -> list[int]:
    """The row up to its first end token, that one included."""
    for i, token in enumerate(row):
        if token in eos:
            return row[: i + 1]
    return row


class Steps(StoppingCriteria):  # type: ignore[misc]
    """Shows every step to `on_step`, and ends a row at a stop string."""

    def __init__(
        self,
        tokenizer: Any,
        width: int,
        eos: Sequence[int],
        stops: Sequence[str],
        on_step: OnStep | None,
        snapshot: Callable[[list[list[int]]], list[Trace]],
        without_side_effects: WithoutSideEffects,
        spoken: Callable[[list[list[int]]], list[list[int]]],
    ) -> None:
        self.spoken = spoken
        self.snapshot, self.without_side_effects = snapshot, without_side_effects
        self.tokenizer, self.width, self.eos, self.stops, self.on_step = tokenizer, width, eos, stops, on_step
        self.tokens = special_ids(tokenizer, stops)

    def __call__(self, input_ids: Tensor, scores: Any, **kwargs: Any) -> Tensor:
        rows = [until_end(row, self.eos) for row in input_ids[:, self.width :].tolist()]
        answers = self.spoken(rows)
        ended = False
        if self.on_step is not None:
            with self.without_side_effects():
                ended = bool(self.on_step(answers, lambda: self.snapshot(rows)))
        done = [ended or (bool(self.stops) and self._stopped(row)) for row in answers]
        return torch.tensor(done, device=input_ids.device)

    def _stopped(self, row: list[int]) -> bool:
        return not self.tokens.isdisjoint(row) or is_stopped(self.tokenizer, row, self.stops)
