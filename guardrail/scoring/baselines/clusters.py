"""Answers -> clusters of equivalent ones."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from guardrail.scoring.baselines.equivalence import Bools

Labels = NDArray[np.intp]


def clusters(same: Bools) -> Labels:
    """The cluster of each of n answers, 0, 1, ... in the order of their first members. same: (n, n), symmetric.

    An answer joins the first cluster whose first member it is equivalent to (Kuhn et al. 2023, algorithm 1). Where
    equivalence is transitive, the order of the answers does not matter.

        clusters(np.array([[1, 0, 1], [0, 1, 0], [1, 0, 1]], dtype=bool))   # [0, 1, 0]
    """
    firsts: list[int] = []
    labels = np.zeros(len(same), dtype=np.intp)
    for i in range(len(same)):
        found = next((c for c, first in enumerate(firsts) if same[i, first]), len(firsts))
        if found == len(firsts):
            firsts.append(i)
        labels[i] = found
    return labels
