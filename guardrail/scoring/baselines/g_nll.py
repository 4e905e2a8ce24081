"""G-NLL: the negative log-likelihood of the greedy answer (Aichberger et al. 2024, arXiv 2412.15176, eq. 10)."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import ArrayLike

from guardrail.model.local import LocalModel
from guardrail.model.recording import Keep
from guardrail.model.token_log_probs import kept_log_probs, token_log_probs
from guardrail.scoring.baselines.base import AnswerScorer
from guardrail.types import Trace


def g_nll(log_probs: ArrayLike) -> float:
    """U = -sum_t log p(y_t | y_<t, x), nats, not divided by the length. log_probs: (T,).

    g_nll([-1.0, -0.5])   # 1.5
    """
    return -float(np.sum(log_probs))


class GNll(AnswerScorer):
    """Of the answer that is judged, which is the greedy one where generation was greedy.

    What generation kept gives it at no cost; a text that comes from elsewhere takes one forward pass.
    """

    name = "g-nll"
    needs = "logits"
    unit = "nats"

    @property
    def keep(self) -> Keep:
        return Keep(len(self.model.anatomy.layers) - 1, -1)

    def uncertainty(self, trace: Trace) -> float:
        return g_nll(answer_log_probs(self.model, trace))


def answer_log_probs(model: LocalModel, trace: Trace) -> list[float]:
    """log p of the answer's tokens, nats, (T,), from what generation kept, or from one forward pass."""
    with torch.no_grad():
        kept = kept_log_probs(model, trace)
        if kept is None:
            return list(token_log_probs(model, [(trace.prompt_ids, trace.response_ids)])[0].tolist())
        chosen = kept.cpu().gather(1, torch.tensor(trace.response_ids).unsqueeze(1)).squeeze(1)
    return list(chosen.double().tolist())
