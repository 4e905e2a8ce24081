"""Semantic Volume of the question: how far its readings lie apart (Li et al. 2025, arXiv 2502.21239)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from guardrail.errors import ScoringError
from guardrail.model.local import LocalModel
from guardrail.scoring.baselines.equivalence import Equivalence, compare_all
from guardrail.scoring.baselines.perturbed import Perturbed
from guardrail.scoring.baselines.samples import SampleSource, Sampling
from guardrail.types import Trace

EPSILON = 1e-3
"""What keeps the determinant above 0 where wordings are the same."""


def semantic_volume(gram: ArrayLike, epsilon: float = EPSILON) -> float:
    """log det(G + epsilon I), nats; higher where the wordings differ more. From n log(epsilon), nearly, to n log(1 + epsilon).

    gram: (n, n), G_ij = v_i . v_j of unit vectors, symmetric. Eigenvalues below 0, which similarities that are no dot products
    may have, count as 0: the nearest Gram matrix there is. NaN gives NaN.

        semantic_volume([[1, 0.5], [0.5, 1]], epsilon=0.5)   # eigenvalues 1.5 and 0.5: log 2 + log 1
    """
    g = np.asarray(gram, dtype=np.float64)
    if not np.isfinite(g).all():
        return float("nan")
    return float(np.log(np.maximum(np.linalg.eigvalsh(g), 0.0) + epsilon).sum())


class SemanticVolume(Perturbed):
    """Of the question as the conversation has it: the answer has no part in it, and neither have passages.

    The paper embeds n = 20 perturbed questions, reduces the vectors by PCA over a data set, and takes log det(V^T V + eps I).
    Chosen here: 10 wordings that the scored model draws (`REWORD`; the paper's own prompt could not be had), no PCA, since one
    question has no data set, and epsilon 1e-3. G is the similarity of `equivalence`: the cosine, 0 where it is negative.

    Raises `ScoringError` for an epsilon that is not above 0.
    """

    name = "semantic-volume"
    of_question = True
    asks = "text"
    unit = "nats"

    def __init__(
        self,
        model: LocalModel,
        *,
        source: SampleSource | None = None,
        equivalence: Equivalence | None = None,
        samples: int = 10,
        temperature: float = 0.7,
        epsilon: float = EPSILON,
    ) -> None:
        super().__init__(model, Sampling(samples, temperature), source, equivalence)
        if not epsilon > 0:
            raise ScoringError(f"epsilon is {epsilon}; it must be greater than 0")
        self.epsilon = epsilon

    @property
    def options(self) -> dict[str, Any]:
        return {**super().options, "epsilon": self.epsilon}

    def uncertainty(self, trace: Trace) -> float:
        gram = compare_all(self.equivalence, "", self.wordings(trace)).similarity
        return semantic_volume(gram, self.epsilon)
