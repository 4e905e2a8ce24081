"""The answer's own likelihood: G-NLL, its mean over the tokens, and its least likely token.

G-NLL: Aichberger et al. 2024, arXiv 2412.15176, eq. 10. The mean is the logarithm of the perplexity (Malinin and Gales 2021,
arXiv 2002.07650), the least likely token a common baseline (Manakul et al. 2023, arXiv 2303.08896, "Max(-log p)").
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import ArrayLike

from guardrail.errors import ScoringError
from guardrail.model.local import LocalModel
from guardrail.model.recording import Keep
from guardrail.model.token_log_probs import kept_log_probs, token_log_probs
from guardrail.scoring.baselines.base import AnswerScorer, NoLogProbsError, Span
from guardrail.types import Score, Trace


def g_nll(log_probs: ArrayLike) -> float:
    """U = -sum_t log p(y_t | y_<t, x), nats, not divided by the length. log_probs: (T,).

    g_nll([-1.0, -0.5])   # 1.5
    """
    return -float(np.sum(log_probs))


class LikelihoodScorer(AnswerScorer):
    """Of the answer that is judged, which is the greedy one where generation was greedy. A subclass gives `of`.

    What generation kept gives it at no cost; a text that comes from elsewhere takes one forward pass. Of a model behind an
    endpoint it is what the endpoint said with the answer; a text that comes from elsewhere has none there.
    """

    needs = "logits"
    asks = "log_probs"

    @property
    def keep(self) -> Keep | None:
        return Keep(len(self.model.anatomy.layers) - 1, -1) if self.model.has_weights else None

    @staticmethod
    @abstractmethod
    def of(log_probs: ArrayLike) -> float:
        """log_probs: of the tokens, nats, (T,), none empty."""

    def uncertainty(self, trace: Trace) -> float:
        return self.number(answer_log_probs(self.model, trace))

    def number(self, log_probs: ArrayLike) -> float:
        """`of`, with the options of this very scorer, where it has any."""
        return self.of(log_probs)

    def score_spans(self, traces: Sequence[Trace], spans: Sequence[Sequence[Span]]) -> list[list[Score]]:
        """The scores of parts of answers: for each trace those of its spans, each `response_ids[start:end]`.

        Raises `ScoringError` for a span that is not within the response.
        """
        return [self._parts(trace, parts) for trace, parts in zip(traces, spans, strict=True)]

    def _parts(self, trace: Trace, spans: Sequence[Span]) -> list[Score]:
        T = len(trace.response_ids)
        for start, end in spans:
            if not 0 <= start < end <= T:
                raise ScoringError(f"the span [{start}, {end}) is empty or not within the response's {T} tokens")
        found: list[float] = []

        def read(start: int, end: int) -> float:
            if not found:  # once for all parts
                found.extend(answer_log_probs(self.model, trace))
            return self.number(found[start:end])

        refused = self._refused(trace)
        return [
            replace(refused, length=end - start)
            if refused
            else self._scored(end - start, lambda s=start, e=end: read(s, e))  # type: ignore[misc]
            for start, end in spans
        ]


class GNll(LikelihoodScorer):
    """-sum_t log p(y_t): the whole answer's."""

    name = "g-nll"
    unit = "nats"
    of = staticmethod(g_nll)


class MeanNll(LikelihoodScorer):
    """-mean_t log p(y_t), the logarithm of the perplexity: long answers are no worse than short ones."""

    name = "mean-nll"
    unit = "nats a token"

    @staticmethod
    def of(log_probs: ArrayLike) -> float:
        return -float(np.mean(np.asarray(log_probs, dtype=np.float64)))


class MaxNll(LikelihoodScorer):
    """max_t -log p(y_t): that of the least likely token."""

    name = "max-nll"
    unit = "nats"

    @staticmethod
    def of(log_probs: ArrayLike) -> float:
        return -float(np.min(log_probs))


def answer_log_probs(model: LocalModel, trace: Trace) -> list[float]:
    """log p of the answer's tokens, nats, (T,), from what generation kept or an endpoint said, or from one forward pass.

    Raises `NoLogProbsError` for an answer of which an endpoint said none.
    """
    if not model.has_weights:
        if trace.log_probs is None or len(trace.log_probs) != len(trace.response_ids):
            given = trace.finish_reason == "given"
            raise NoLogProbsError(
                "an endpoint gives no log-probabilities of a given text"
                if given
                else "the endpoint gave no log-probabilities of this answer, or those of another text"
            )
        return list(trace.log_probs)
    with torch.no_grad():
        kept = kept_log_probs(model, trace)
        if kept is None:
            return list(token_log_probs(model, [(trace.prompt_ids, trace.response_ids)])[0].tolist())
        chosen = kept.cpu().gather(1, torch.tensor(trace.response_ids).unsqueeze(1)).squeeze(1)
    return list(chosen.double().tolist())
