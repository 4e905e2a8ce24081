"""What chance alone makes of a true curve: the ECE that so many answers would show. Knows nothing about calibrators."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from guardrail.calibration.metrics import Estimate, ece


def ece_of_chance(p_correct: ArrayLike, *, n: int = 1000, seed: int = 0) -> Estimate:
    """The mean ECE, and the range of 95 % of them, of outcomes that are drawn from these very probabilities.

    No sample of a true curve has an ECE of 0, and one of few answers has a large one: an ECE inside the range is no evidence
    against a curve (consistency resampling, Bröcker and Smith 2007, doi 10.1175/WAF993.1).

        ece_of_chance([0.5] * 10).value   # about 0.12: ten throws of a fair coin seldom show five heads

    Args:
        p_correct: Probabilities, (n,).
        n: Draws.
        seed: Of the draws.

    Raises:
        CalibrationError: For no probabilities, or what is none.
    """
    p = np.asarray(p_correct, dtype=np.float64)
    rng = np.random.default_rng(seed)
    drawn = [ece(p, rng.uniform(size=p.shape) < p) for _ in range(n)]
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Estimate(float(np.mean(drawn)), float(low), float(high), len(p))
