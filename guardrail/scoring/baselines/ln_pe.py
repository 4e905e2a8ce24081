"""LN-PE: length-normalised predictive entropy (Malinin and Gales 2021, arXiv 2002.07650, section 3)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from guardrail.model.local import LocalModel
from guardrail.scoring.baselines.base import Sampled
from guardrail.scoring.baselines.samples import SampleSource, Sampling
from guardrail.types import Trace


def ln_pe(log_probs: Sequence[ArrayLike]) -> float:
    """U = -(1/N) sum_n (1/T_n) sum_t log p(y_nt | y_n<t, x), nats a token. log_probs: (T_n,) for each of N samples.

    ln_pe([[-1.0, -3.0], [-4.0]])   # (2 + 4) / 2 = 3
    """
    return -float(np.mean([np.mean(np.asarray(row, dtype=np.float64)) for row in log_probs]))


class LnPe(Sampled):
    """The paper's setting: 10 samples at temperature 1. The answer itself has no part in it."""

    name = "ln-pe"
    of_question = True
    asks = "log_probs"
    unit = "nats a token"

    def __init__(
        self, model: LocalModel, *, source: SampleSource | None = None, samples: int = 10, temperature: float = 1.0
    ) -> None:
        super().__init__(model, Sampling(samples, temperature), source)

    def uncertainty(self, trace: Trace) -> float:
        return ln_pe(self.samples(trace).log_probs)
