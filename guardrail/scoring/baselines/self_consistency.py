"""Self-Consistency: the share of samples that say what the answer says (Wang et al. 2023, arXiv 2203.11171)."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from guardrail.messages import question_of
from guardrail.model.local import LocalModel
from guardrail.scoring.baselines.base import Compared
from guardrail.scoring.baselines.equivalence import Equivalence, compare
from guardrail.scoring.baselines.samples import SampleSource, Sampling
from guardrail.types import Trace


def inconsistency(same: ArrayLike) -> float:
    """U = 1 - (1/N) sum_n [sample n is equivalent to the answer], in [0, 1]. same: (N,) booleans.

    inconsistency([True, True, False, True])   # 0.25
    """
    return 1.0 - float(np.mean(np.asarray(same, dtype=np.float64)))


class SelfConsistency(Compared):
    """The paper's setting: 10 samples at temperature 0.7, compared with the greedy answer, or whatever answer is judged."""

    name = "self-consistency"
    asks = "text"
    unit = "share of the samples"

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
        unique = list(dict.fromkeys(text for text in texts if text != trace.text))
        found = compare(self.equivalence, question_of(trace.messages), [trace.text] * len(unique), unique)
        same = {trace.text: True, **dict(zip(unique, found.same.tolist(), strict=True))}
        return inconsistency([same[text] for text in texts])
