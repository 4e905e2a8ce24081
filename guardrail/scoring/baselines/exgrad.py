"""ExGrad: ParaGrad without the entropy weights (arXiv 2605.04638, its baseline with w_t = 1)."""

from __future__ import annotations

from guardrail.scoring.baselines.head_gradient import HeadGradient
from guardrail.scoring.gradients import Readout


class ExGrad(HeadGradient):
    """mean |dJ/dW_head| over vocabulary x hidden with J = (1/T) sum_t log p_t[y_t]; one pass, no samples."""

    name = "exgrad"
    exgrad = True

    def number(self, readout: Readout) -> float:
        assert readout.exgrad is not None  # noqa: S101  (asked for above)
        return readout.exgrad
