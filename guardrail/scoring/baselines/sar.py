"""SAR: likelihoods shifted to the tokens and samples that carry the meaning (Duan et al. 2024, arXiv 2307.01379)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import logsumexp

from guardrail.errors import ScoringError
from guardrail.messages import question_of
from guardrail.model.local import LocalModel
from guardrail.scoring.baselines.base import Compared
from guardrail.scoring.baselines.equivalence import Equivalence, Floats, compare, compare_all
from guardrail.scoring.baselines.samples import SampleSource, Sampling
from guardrail.types import Trace

SHARPNESS = 0.001
"""The original's t, which weighs what other samples add."""


def token_sar(log_probs: ArrayLike, relevance: ArrayLike) -> float:
    """E = -sum_t r_t log p_t with r = relevance / sum relevance, nats (the paper's TokenSAR).

    log_probs, relevance: (T,), relevance >= 0. Where no token is relevant, all are equally so.

        token_sar([-1.0, -3.0], [0.3, 0.1])   # 0.75 * 1 + 0.25 * 3 = 1.5
    """
    log_p, r = np.asarray(log_probs, dtype=np.float64), np.asarray(relevance, dtype=np.float64)
    r = np.full(len(r), 1 / len(r)) if r.sum() == 0 else r / r.sum()
    return -float(log_p[r > 0] @ r[r > 0])  # an impossible token that means nothing must not make NaN


def sar(token_sars: ArrayLike, similarity: ArrayLike, t: float = SHARPNESS) -> float:
    """U = -(1/N) sum_j log(p_j + (1/t) sum_{k != j} g_jk p_k) with p_j = exp(-E_j), nats (the paper's SAR).

    token_sars: E, (N,). similarity: g, (N, N), in [0, 1]; its diagonal is not read. It may be negative, since t is small.

        sar([0, 0], [[1, 0.5], [0.5, 1]], t=1)   # -log(1 + 0.5)
    """
    log_p = -np.asarray(token_sars, dtype=np.float64)
    share = np.array(similarity, dtype=np.float64) / t
    np.fill_diagonal(share, 1.0)
    return -float(np.mean(logsumexp(log_p[None, :], b=share, axis=1)))


class Sar(Compared):
    """The paper's setting: 5 samples at temperature 1. t: see `sar`.

    A token's relevance is 1 - g(sample, sample without it), both after the question; g is the equivalence's similarity, by
    default that of sentence embeddings where the original takes a cross-encoder's. The answer itself has no part in it.
    """

    name = "sar"
    of_question = True
    asks = "log_probs"
    unit = "nats"

    def __init__(
        self,
        model: LocalModel,
        *,
        source: SampleSource | None = None,
        equivalence: Equivalence | None = None,
        samples: int = 5,
        temperature: float = 1.0,
        t: float = SHARPNESS,
    ) -> None:
        super().__init__(model, Sampling(samples, temperature), source, equivalence)
        if not t > 0:
            raise ScoringError(f"t is {t}; it must be greater than 0")
        self.t = t

    @property
    def options(self) -> dict[str, Any]:
        return {**super().options, "t": self.t}

    def uncertainty(self, trace: Trace) -> float:
        drawn, question = self.samples(trace), question_of(trace.messages)
        relevance = self._relevance(question, drawn.ids, drawn.texts)
        sars = [token_sar(log_p, r) for log_p, r in zip(drawn.log_probs, relevance, strict=True)]
        return sar(sars, compare_all(self.equivalence, question, drawn.texts).similarity, self.t)

    def _relevance(self, question: str, ids: tuple[tuple[int, ...], ...], texts: tuple[str, ...]) -> list[Floats]:
        """(T_n,) for each sample: how much its text changes without each token. All samples in one comparison."""
        decode = self.model.tokenizer.decode
        whole, part = [], []
        for row, text in zip(ids, texts, strict=True):
            for i in range(len(row)):
                whole.append(f"{question} {text}".strip())
                rest = decode([*row[:i], *row[i + 1 :]], skip_special_tokens=True).strip()
                part.append(f"{question} {rest}".strip())
        changed = [
            i for i, (a, b) in enumerate(zip(whole, part, strict=True)) if a != b
        ]  # not so: no relevance, exactly
        relevance = np.zeros(len(whole))
        if changed:
            found = compare(self.equivalence, "", [whole[i] for i in changed], [part[i] for i in changed])
            relevance[changed] = 1 - found.similarity
        return np.split(relevance, np.cumsum([len(row) for row in ids])[:-1])
