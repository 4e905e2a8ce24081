"""INSIDE: the EigenScore of the samples' inner states (Chen et al. 2024, arXiv 2402.03744, eq. 4 to 6)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from guardrail.errors import ScoringError
from guardrail.model.local import LocalModel
from guardrail.scoring.baselines.base import Sampled
from guardrail.scoring.baselines.samples import SampleSource, Sampling
from guardrail.types import Trace

ALPHA = 1e-3
"""What keeps the covariance of full rank, the original's value."""


def eigenscore(states: ArrayLike, alpha: float = ALPHA) -> float:
    """(1/N) log det(C + alpha I) = (1/N) sum_i log lambda_i; higher where the states differ more.

    states: z, (N, D), one state a sample. C: (N, N), the covariance of the samples over the D units, each sample's own mean
    taken off, divided by D - 1 as in the released code (eq. 4 does not divide, which only changes what alpha means);
    natural logarithm, as in eq. 6 (the code's is to base 10: the same order). NaN states give NaN.

        eigenscore([[1, -1], [1, -1]], alpha=1)   # C = [[2, 2], [2, 2]]: (log 5 + log 1) / 2
    """
    z = np.asarray(states, dtype=np.float64)
    if not np.isfinite(z).all():
        return float("nan")
    centred = z - z.mean(axis=1, keepdims=True)
    covariance = centred @ centred.T / (z.shape[1] - 1)
    sign, log_det = np.linalg.slogdet(covariance + alpha * np.eye(len(z)))
    return float(log_det / len(z)) if sign > 0 else float("nan")


class Inside(Sampled):
    """The paper's setting: 10 samples at temperature 0.5, top-p 0.99, top-k 5; the middle layer at the last token."""

    name = "inside"
    of_question = True
    unit = "nats"

    def __init__(
        self,
        model: LocalModel,
        *,
        source: SampleSource | None = None,
        samples: int = 10,
        temperature: float = 0.5,
        top_p: float = 0.99,
        top_k: int = 5,
        alpha: float = ALPHA,
    ) -> None:
        super().__init__(model, Sampling(samples, temperature, top_p, top_k, states=True), source)
        if not alpha > 0:
            raise ScoringError(f"alpha is {alpha}; it must be greater than 0")
        self.alpha = alpha

    @property
    def options(self) -> dict[str, Any]:
        return {**super().options, "alpha": self.alpha}

    def uncertainty(self, trace: Trace) -> float:
        states = self.samples(trace).states
        assert states is not None  # noqa: S101  (the sampling asks for them)
        return eigenscore(states, self.alpha)
