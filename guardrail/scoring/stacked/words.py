"""The words of an answer and the tokens that hold them.

Most tokens of an answer repeat the question ("The capital of Fiji is ...") or are the model's usual phrases, and their
probabilities say nothing about whether it is right. What is left are the new words.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from itertools import accumulate
from typing import Any, NamedTuple

from guardrail.segmentation import word_spans, words_in

COMMON_SHARE = 0.01
COMMON_ANSWERS = 3
"""A word is common where at least this share of the calibration answers, and so many of them, have it."""

_BROKEN = "\N{REPLACEMENT CHARACTER}"


class Word(NamedTuple):
    """A word, casefolded, and its tokens: `response_ids[start:end]`, which may hold parts of its neighbours too."""

    text: str
    start: int
    end: int


def token_pieces(tokenizer: Any, ids: Sequence[int]) -> list[str]:
    """What each token adds to the text, (T,); "" for special tokens. A character of several tokens is the last one's.

    Decoded in windows of two pieces, since many tokenizers drop the space before the first word of what they decode.
    """
    pieces: list[str] = []
    window = start = 0
    for k in range(1, len(ids) + 1):
        before: str = tokenizer.decode(list(ids[window:start]), skip_special_tokens=True)
        after: str = tokenizer.decode(list(ids[window:k]), skip_special_tokens=True)
        if after.endswith(_BROKEN) and k < len(ids):
            pieces.append("")
            continue
        pieces.append(after[len(before) :] if after.startswith(before) else "")
        window, start = start, k
    return pieces


def words_of(pieces: Sequence[str]) -> tuple[Word, ...]:
    """The words of the text that the pieces make, in order, in every script (guardrail.segmentation).

    words_of(["It", " is", " Su", "va", "."])  # (Word("it", 0, 1), Word("is", 1, 2), Word("suva", 2, 4))
    """
    ends = list(accumulate(map(len, pieces)))
    text = "".join(pieces)
    out, token = [], 0
    for start, end in word_spans(text):
        while ends[token] <= start:
            token += 1
        last = token
        while ends[last] < end:
            last += 1
        out.append(Word(text[start:end].casefold(), token, last + 1))
    return tuple(out)


def telling_tokens(words: Iterable[Word], asked: Collection[str], length: int) -> list[int]:
    """Which of so many tokens hold words that the question does not, ascending; all of them where there is no such word.

    telling_tokens(words_of(["It", " is", " Su", "va"]), {"is"}, 4)  # [0, 2, 3]
    """
    found = {t for word in words if word.text not in asked for t in range(word.start, word.end)}
    return sorted(found) or list(range(length))


def within(words: Iterable[Word], start: int, end: int) -> tuple[Word, ...]:
    """The words whose tokens lie in `response_ids[start:end]`, counted from `start`."""
    return tuple(Word(w.text, w.start - start, w.end - start) for w in words if start <= w.start and w.end <= end)


def asked_words(text: str) -> frozenset[str]:
    """The words of a question, casefolded."""
    return frozenset(word.casefold() for word in spelt_words(text))


def spelt_words(text: str) -> list[str]:
    """The words of a text as they stand there, in order."""
    return words_in(text)


def common_words(answers: Collection[Iterable[Word]]) -> tuple[str, ...]:
    """The words that many of the answers have, whatever was asked; sorted. No grade has a part in it.

    At least `COMMON_SHARE` of the answers, and at least `COMMON_ANSWERS`.
    """
    count = Counter(text for words in answers for text in {word.text for word in words})
    return tuple(sorted(t for t, n in count.items() if n >= max(COMMON_ANSWERS, COMMON_SHARE * len(answers))))
