"""Deg: the degree matrix of the samples' similarity graph (Lin et al. 2024, arXiv 2305.19187, eq. 8)."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from guardrail.messages import question_of
from guardrail.model.local import LocalModel
from guardrail.scoring.baselines.base import Compared
from guardrail.scoring.baselines.equivalence import Equivalence, compare_all
from guardrail.scoring.baselines.samples import SampleSource, Sampling
from guardrail.types import Trace


def degree_uncertainty(similarity: ArrayLike) -> float:
    """U = trace(N I - D) / N^2 with D_ii = sum_j w_ij: one minus the mean similarity, in [0, 1 - 1/N].

    similarity: w, (N, N), in [0, 1], symmetric, with 1 on the diagonal.

        degree_uncertainty([[1, 0.5], [0.5, 1]])   # 1 - 3 / 4 = 0.25
    """
    return 1.0 - float(np.mean(np.asarray(similarity, dtype=np.float64)))


class Deg(Compared):
    """The paper's setting: the 10 samples at temperature 0.7 of Self-Consistency. The answer itself has no part in it."""

    name = "deg"
    of_question = True
    asks = "text"

    def __init__(
        self,
        model: LocalModel,
        *,
        source: SampleSource | None = None,
        equivalence: Equivalence | None = None,
        samples: int = 10,
        temperature: float = 0.7,
    ) -> None:
        super().__init__(model, Sampling(samples, temperature), source, equivalence)

    def uncertainty(self, trace: Trace) -> float:
        texts = self.samples(trace).texts
        return degree_uncertainty(compare_all(self.equivalence, question_of(trace.messages), texts).similarity)
