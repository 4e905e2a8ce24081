"""A quantile of the answer's token log-probabilities, in place of their sum, which grows with the length.

Gupta et al. 2024, "Language Model Cascades: Token-level uncertainty and beyond", arXiv 2404.10136 (Chow-Quantile): whether to
defer to a larger model is decided by a quantile over the tokens, since the sum defers long answers and the mean hides one
unlikely token. They find no one level best for all tasks; 0.8 of the surprises, which is 0.2 of the log-probabilities, is a
choice of ours: near the least likely token, and not it alone.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from guardrail.errors import ScoringError
from guardrail.model.local import LocalModel
from guardrail.scoring.baselines.g_nll import LikelihoodScorer

LEVEL = 0.8


def quantile_nll(log_probs: ArrayLike, level: float = LEVEL) -> float:
    """The level-quantile of -log p(y_t | y_<t, x) over the tokens, nats, linear between two of them. log_probs: (T,).

    quantile_nll([-1.0, -0.5, -3.0, -0.1, -2.0])   # 2.2: a fifth of the way from 2 to 3

    0 is the likeliest token, 0.5 the median, 1 the least likely one (`max-nll`).
    """
    return float(np.quantile(-np.asarray(log_probs, dtype=np.float64), level))


class QuantileNll(LikelihoodScorer):
    """The level-quantile of -log p(y_t).

    Raises `ScoringError` for a level outside [0, 1].
    """

    name = "quantile-nll"
    unit = "nats"
    of = staticmethod(quantile_nll)

    def __init__(self, model: LocalModel, *, level: float = LEVEL) -> None:
        super().__init__(model)
        if isinstance(level, bool) or not isinstance(level, int | float) or not 0 <= level <= 1:
            raise ScoringError(f"the level is {level!r:.40}; a quantile's level lies in [0, 1], as {LEVEL} does")
        self.level = float(level)

    @property
    def options(self) -> dict[str, Any]:
        return {"level": self.level}

    def number(self, log_probs: ArrayLike) -> float:
        return quantile_nll(log_probs, self.level)
