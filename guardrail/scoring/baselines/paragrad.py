"""ParaGrad: the gradient of the answer's likelihood with respect to the LM head (arXiv 2605.04638, eq. 5)."""

from __future__ import annotations

from guardrail.scoring.baselines.head_gradient import HeadGradient
from guardrail.scoring.gradients import Readout


class ParaGrad(HeadGradient):
    """mean |dJ/dW_head| over vocabulary x hidden, each token weighed by its entropy; one pass, no samples."""

    name = "paragrad"

    def number(self, readout: Readout) -> float:
        return readout.paragrad
