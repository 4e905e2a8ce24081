"""Semantic Entropy: the entropy over clusters of samples that mean the same (Kuhn et al. 2023, arXiv 2302.09664;
estimated as in Farquhar et al. 2024, Nature 630, eq. 4 and 5)."""

from __future__ import annotations

from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import logsumexp, softmax, xlogy

from guardrail.errors import ScoringError
from guardrail.messages import question_of
from guardrail.model.local import LocalModel
from guardrail.scoring.baselines.base import Compared
from guardrail.scoring.baselines.clusters import clusters
from guardrail.scoring.baselines.equivalence import Equivalence, compare_all
from guardrail.scoring.baselines.samples import SampleSource, Sampling
from guardrail.types import Trace

Weights = Literal["likelihood", "count"]


def semantic_entropy(labels: ArrayLike, log_weights: ArrayLike | None = None) -> float:
    """U = -sum_c p(c) log p(c), nats, in [0, log N]. p(c): the share of cluster c.

    labels: (N,), each sample's cluster. log_weights: (N,), each sample's log-likelihood divided by its length; p(c) is then the
    normalised sum over the cluster's samples. None counts samples, the discrete variant.

        semantic_entropy([0, 0, 1, 2])   # shares 1/2, 1/4, 1/4: 1.5 log 2 = 1.040
    """
    names = np.asarray(labels)
    weights = np.zeros(len(names)) if log_weights is None else np.asarray(log_weights, dtype=np.float64)
    p = softmax([logsumexp(weights[names == c]) for c in np.unique(names)])
    return -float(xlogy(p, p).sum()) + 0.0  # no -0.0


class SemanticEntropy(Compared):
    """The paper's setting: 10 samples at temperature 1. weights: "likelihood", or "count" for the discrete variant.

    The answer itself has no part in it.
    """

    name = "semantic-entropy"
    of_question = True
    asks = "log_probs"
    unit = "nats"

    def __init__(
        self,
        model: LocalModel,
        *,
        source: SampleSource | None = None,
        equivalence: Equivalence | None = None,
        samples: int = 10,
        temperature: float = 1.0,
        weights: Weights = "likelihood",
    ) -> None:
        super().__init__(model, Sampling(samples, temperature), source, equivalence)
        if weights not in get_args(Weights):
            raise ScoringError(f"weights is {weights!r}; it must be one of {', '.join(get_args(Weights))}")
        self.weights = weights

    @property
    def options(self) -> dict[str, Any]:
        return {**super().options, "weights": self.weights}

    def uncertainty(self, trace: Trace) -> float:
        drawn = self.samples(trace)
        labels = clusters(compare_all(self.equivalence, question_of(trace.messages), drawn.texts).same)
        if self.weights == "count":
            return semantic_entropy(labels)
        return semantic_entropy(labels, [row.mean() for row in drawn.log_probs])
