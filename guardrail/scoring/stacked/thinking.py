"""What a model's thinking tells about the answer behind it. Higher where the model is less sure, and never negative.

| name | unit | what |
| --- | --- | --- |
| thinking.tokens | | how long it thought |
| thinking.entropy_early | nats | mean entropy of its distribution over the first third of the thought |
| thinking.entropy_late | nats | the same over the last third: whether it has made up its mind |

An answer without a thought has none of them, and they say nothing about it: in a stacked model each then stands at its median.
Needs neither a model nor torch.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

PREFIX = "thinking."
NAMES = ("tokens", "entropy_early", "entropy_late")


def thinking_features(entropies: NDArray[np.float64]) -> dict[str, float]:
    """All of them by name. entropies: of each token of the thought, nats, (K,), K > 0."""
    third = max(1, len(entropies) // 3)
    values = (float(len(entropies)), float(entropies[:third].mean()), float(entropies[-third:].mean()))
    return {f"{PREFIX}{name}": value for name, value in zip(NAMES, values, strict=True)}
