"""Experts Don't Cheat: what the model borrows from its answer once it sees it (Johnson et al. 2024, arXiv 2402.08733)."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from guardrail.model.recording import Keep
from guardrail.model.token_log_probs import token_log_probs
from guardrail.scoring.baselines.base import AnswerScorer
from guardrail.scoring.baselines.g_nll import answer_log_probs
from guardrail.scoring.baselines.mutual_information import chained
from guardrail.types import Trace


def borrowed(seen: ArrayLike, alone: ArrayLike) -> float:
    """log p(y | x, y) - log p(y | x), nats: minus the log of the paper's cheat-corrected confidence p(y | x) / p(y | x, y).

    seen, alone: log-probabilities of the answer's tokens with and without the answer in the question, (T,). 0 for an expert,
    who has nothing to learn from an answer; below 0 where seeing it makes it less likely.

        borrowed([-0.25, -0.25], [-1.0, -1.5])   # -0.5 + 2.5 = 2.0
    """
    return float(np.sum(seen) - np.sum(alone))


class Cheat(AnswerScorer):
    """Two passes over the answer, none of them a generation: after its question, and after one that holds it as an answer.

    The paper trains the model on pairs of answers, which makes the ratio a bound on what is not known. Here nothing is trained:
    the first answer is shown in the chained prompt of `mutual-information`, and what the model makes of it is its habit of
    copying. Where it always copies, log p(y | x, y) is near 0 and the number is near that of `g-nll`. A thought stays with
    p(y | x) and has no part in the other.
    """

    name = "cheat"
    needs = "logits"
    unit = "nats"

    @property
    def keep(self) -> Keep:
        return Keep(len(self.model.anatomy.layers) - 1, -1)

    def uncertainty(self, trace: Trace) -> float:
        prompt = self.prompt_about(chained(trace.messages, trace.text), trace.response_ids)
        (seen,) = token_log_probs(self.model, [(prompt, trace.response_ids)])
        return borrowed(seen.numpy(), answer_log_probs(self.model, trace))
