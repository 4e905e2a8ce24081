"""What it means for two answers to say the same: the protocol, and token overlap."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from types import MappingProxyType
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from guardrail.errors import GuardrailError, PartError, ScoringError
from guardrail.kernels.memory import is_out_of_memory
from guardrail.model.token_log_probs import NotFiniteError
from guardrail.plain_text import normalise
from guardrail.segmentation import words_in

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
_ROUNDING = 1e-3  # of probabilities in half precision


@dataclass(frozen=True, slots=True, eq=False)
class Comparison:
    """Of N pairs of answers, shape (N,) each, or of n answers with each other, (n, n).

    same: whether they are equivalent. similarity: in [0, 1], 1 = the same. distance2: the squared semantic distance, in
    [0, 1], as Semantic Density has it: 0 equivalent, 1/2 neutral, 1 contradictory. relation: 1 where one says what the other
    does, -1 where they contradict each other, 0 where neither holds; by default 1 where they are the same and -1 elsewhere, for
    comparisons that tell nothing between. Raises `NotFiniteError` for NaN, which
    would say that answers are the same, or not, without anybody having compared them, and `ScoringError` for numbers outside
    [0, 1], which a model gives whose numbers are no probabilities.
    """

    same: Bools
    similarity: Floats
    distance2: Floats
    relation: Floats | None = None

    @property
    def relations(self) -> Floats:
        """`relation`, or its default."""
        return np.where(self.same, 1.0, -1.0) if self.relation is None else self.relation

    def __post_init__(self) -> None:
        if not (np.isfinite(self.similarity).all() and np.isfinite(self.distance2).all()):
            raise NotFiniteError("NaN or infinity in the comparison of two answers")
        for numbers in (self.similarity, self.distance2):
            if len(numbers) and not (numbers.min() >= -_ROUNDING and numbers.max() <= 1 + _ROUNDING):
                raise ScoringError(
                    f"two answers were compared as {numbers.min():g} to {numbers.max():g}, outside [0, 1]; the model that "
                    "compares them must give probabilities"
                )


class Equivalence(Protocol):
    """Compares answers to one question; symmetric."""

    @property
    def options(self) -> Mapping[str, Any]:
        """Everything that changes the result, JSON-ready."""

    def compare(self, question: str, left: Sequence[str], right: Sequence[str]) -> Comparison:
        """left[i] with right[i], as answers to `question`."""


class TokenF1:
    """Equivalent where the F1 of the answers' words exceeds `threshold`; similarity is F1, the squared distance 1 - F1.

    Words are those of guardrail.segmentation, without case. The default is the one of M.I.'s clusters (arXiv 2406.02543).

        TokenF1().compare("", ["the Nile"], ["Nile"]).similarity   # 2 * 1 * 0.5 / 1.5 = 0.667
    """

    def __init__(self, threshold: float = 0.25) -> None:
        if not 0 <= threshold < 1:
            raise ScoringError(f"the threshold of F1 is {threshold}; it must be in [0, 1)")
        self.threshold = threshold

    @property
    def options(self) -> dict[str, Any]:
        return {"kind": "token f1", "threshold": self.threshold}

    def compare(self, question: str, left: Sequence[str], right: Sequence[str]) -> Comparison:
        f1 = np.array([token_f1(a, b) for a, b in zip(left, right, strict=True)], dtype=np.float64)
        return Comparison(f1 > self.threshold, f1, 1 - f1)


class SameWords:
    """Equivalent where the normalised words are the same, without case, accents, punctuation and articles: for short answers.

    SameWords().compare("", ["The Nile."], ["nile"]).same   # [True]
    """

    options: Mapping[str, Any] = MappingProxyType({"kind": "normalised"})

    def compare(self, question: str, left: Sequence[str], right: Sequence[str]) -> Comparison:
        same = np.array([normalise(a) == normalise(b) for a, b in zip(left, right, strict=True)], dtype=np.bool_)
        similarity = same.astype(np.float64)
        return Comparison(same, similarity, 1.0 - similarity)


def token_f1(a: str, b: str) -> float:
    """2 |A ∩ B| / (|A| + |B|) over the bags of words; two answers without a word are the same."""
    words_a, words_b = (Counter(words_in(text.casefold())) for text in (a, b))
    total = words_a.total() + words_b.total()
    return 1.0 if total == 0 else 2 * (words_a & words_b).total() / total


def compare(equivalence: Equivalence, question: str, left: Sequence[str], right: Sequence[str]) -> Comparison:
    """`equivalence.compare`, which may be a model's or a caller's own.

    Raises `PartError` where it raises an error that is not ours, or gives anything but one comparison a pair; memory that runs
    out comes through as it is.
    """
    name = equivalence.options.get("kind", type(equivalence).__name__)
    try:
        found = equivalence.compare(question, left, right)
    except GuardrailError:
        raise
    except Exception as error:
        if is_out_of_memory(error):
            raise
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise PartError(f"the comparison of answers ({name}) failed: {reason}") from error
    if not isinstance(found, Comparison) or len(found.same) != len(left):
        raise PartError(f"the comparison of answers ({name}) failed: it gave {found!r:.80} for {len(left)} pairs")
    return found


def compare_all(equivalence: Equivalence, question: str, texts: Sequence[str]) -> Comparison:
    """Each text with each, (n, n). A text is the same as its copy, whatever a model would say; copies cost nothing."""
    unique = list(dict.fromkeys(texts))
    pairs = list(combinations(range(len(unique)), 2))
    same, similarity, distance2 = np.eye(len(unique), dtype=np.bool_), np.eye(len(unique)), 1 - np.eye(len(unique))
    if pairs:
        i, j = (np.array(side) for side in zip(*pairs, strict=True))
        found = compare(equivalence, question, [unique[k] for k in i], [unique[k] for k in j])
        for whole, part in ((same, found.same), (similarity, found.similarity), (distance2, found.distance2)):
            whole[i, j] = whole[j, i] = part
    at = np.array([unique.index(text) for text in texts], dtype=np.intp)
    grid = np.ix_(at, at)
    return Comparison(same[grid], similarity[grid], distance2[grid])
