"""What the passages in a prompt tell about an answer. Higher where there is less reason to believe it, and never negative.

| name | unit | what |
| --- | --- | --- |
| evidence.new_nll_without | nats | -log p of the new words' tokens in the prompt without the passages, summed |
| evidence.nll_mean_without | nats | the same of all tokens, mean |
| evidence.question_perplexity | | perplexity of the question behind the passages over that without them; lower = related |
| evidence.question_missing | words | words of the question that no passage holds |
| evidence.names_missing | words | those of them with a capital or a digit |
| evidence.answer_missing | share | of the answer's new words, those that no passage holds |

A model is sure of what it has just read, whether it belongs to the question or not. So its own probabilities cannot tell a
passage that helps from one about something else; what can is whether passage and question are about the same thing, and what
the model thought of the answer before it read the passage. Needs neither a model nor torch.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from guardrail.scoring.stacked.words import Word, asked_words, spelt_words

PREFIX = "evidence."
NAMES = (
    "new_nll_without",
    "nll_mean_without",
    "question_perplexity",
    "question_missing",
    "names_missing",
    "answer_missing",
)
_DIGIT = re.compile(r"\d")


@dataclass(frozen=True, slots=True, eq=False)
class EvidenceReading:
    """Passages, question and answer compared.

    words: of the passages, casefolded. names: the words of the question that begin with a capital or hold a digit, casefolded.
    log_probs: of the answer's tokens in the prompt without the passages, nats, (T,). perplexity: of the question behind the
    passages, divided by that without them.
    """

    words: Collection[str]
    names: Collection[str]
    log_probs: NDArray[np.float64]
    perplexity: float


def evidence_reading(
    question: str, passages: Sequence[str], log_probs: Sequence[float], perplexity: float
) -> EvidenceReading:
    """question: the text without the passages. The rest is as in `EvidenceReading`."""
    words = frozenset().union(*map(asked_words, passages))
    names = frozenset(word.casefold() for word in spelt_words(question) if word[0].isupper() or _DIGIT.search(word))
    return EvidenceReading(words, names, np.asarray(log_probs, dtype=np.float64), perplexity)


def evidence_features(
    reading: EvidenceReading, asked: Collection[str], new: Sequence[Word], at: NDArray[np.bool_]
) -> dict[str, float]:
    """By name. asked: the question's words. new: the answer's new words. at: the tokens that count as new, (T,)."""
    nll = -reading.log_probs
    found = (
        float(nll[at].sum()),
        float(nll.mean()),
        reading.perplexity,
        float(len(set(asked) - set(reading.words))),
        float(len(set(reading.names) - set(reading.words))),
        sum(word.text not in reading.words for word in new) / len(new) if new else 1.0,
    )
    return {PREFIX + name: value for name, value in zip(NAMES, found, strict=True)}
