"""Semantic Density: how dense the answer's meaning lies among the samples (Qiu and Miikkulainen 2024, arXiv 2405.13845)."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import softmax

from guardrail.messages import question_of
from guardrail.model.local import LocalModel
from guardrail.scoring.baselines.base import Compared
from guardrail.scoring.baselines.equivalence import Equivalence, compare
from guardrail.scoring.baselines.samples import SampleSource, Sampling
from guardrail.types import Trace


def sparsity(log_weights: ArrayLike, distance2: ArrayLike) -> float:
    """U = 1 - SD, in [0, 1], with SD = sum_i f_i K_i / sum_i f_i.

    log_weights: log f, (M,), each distinct sample's log-likelihood divided by its length. distance2: (M,), its squared
    semantic distance to the answer. K = (1 - distance^2) where the distance is at most 1, else 0: the Epanechnikov kernel.

        sparsity([0, 0], [0, 0.5])   # K = 1, 0.5: 1 - 0.75 = 0.25
    """
    kernel = np.clip(1.0 - np.asarray(distance2, dtype=np.float64), 0.0, 1.0)
    return 1.0 - float(softmax(np.asarray(log_weights, dtype=np.float64)) @ kernel)


class SemanticDensity(Compared):
    """10 samples at temperature 1, copies left out, around the answer that is judged.

    The paper draws them by diverse beam search (penalty 1.0), which transformers 5 no longer has (it is code to be fetched
    from the hub); samples of the model stand in for it, so these figures are not the paper's method to the letter.
    """

    name = "semantic-density"
    asks = "log_probs"

    def __init__(
        self,
        model: LocalModel,
        *,
        source: SampleSource | None = None,
        equivalence: Equivalence | None = None,
        samples: int = 10,
        temperature: float = 1.0,
    ) -> None:
        super().__init__(model, Sampling(samples, temperature), source, equivalence)

    def uncertainty(self, trace: Trace) -> float:
        drawn = self.samples(trace)
        weights: dict[str, float] = {}
        for text, row in zip(drawn.texts, drawn.log_probs, strict=True):
            weights[text] = max(float(row.mean()), weights.get(text, -np.inf))
        others = [text for text in weights if text != trace.text]
        found = compare(self.equivalence, question_of(trace.messages), [trace.text] * len(others), others)
        distance2 = {trace.text: 0.0, **dict(zip(others, found.distance2.tolist(), strict=True))}
        return sparsity(list(weights.values()), [distance2[text] for text in weights])
