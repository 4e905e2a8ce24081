"""From a value to a place in a drawing."""

from __future__ import annotations

import math
from dataclasses import dataclass

from guardrail.html.charts.ticks import log_ticks, nice_ticks


@dataclass(frozen=True, slots=True)
class Scale:
    """Values from low to high lie between start and stop (drawing units); stop may be below start, as on a y-axis.

        Scale(0, 1, 200, 0)(0.25)               # 150.0
        Scale(1, 100, 0, 200, log=True)(10)     # 100.0

    Values outside are drawn at the nearest end. log: on a logarithmic axis, where low must be above 0.
    """

    low: float
    high: float
    start: float
    stop: float
    log: bool = False

    def __post_init__(self) -> None:
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            raise ValueError(f"a scale needs two finite ends, low < high, not {self.low} and {self.high}")
        if self.log and self.low <= 0:
            raise ValueError(f"a log scale begins above 0, not at {self.low}")

    def __call__(self, value: float) -> float:
        v = min(max(value, self.low), self.high)
        part, whole = (v - self.low, self.high - self.low)
        if self.log:
            part, whole = math.log(v / self.low), math.log(self.high / self.low)
        return self.start + part / whole * (self.stop - self.start)

    def ticks(self, most: int = 6) -> tuple[float, ...]:
        return log_ticks(self.low, self.high, most) if self.log else nice_ticks(self.low, self.high, most)


def padded(low: float, high: float, share: float = 0.05, *, log: bool = False) -> tuple[float, float]:
    """Both ends moved outwards by a share of the range, so that no mark sits on the frame; a range without width gets one."""
    if log:
        if low <= 0:
            raise ValueError(f"a log scale begins above 0, not at {low}")
        a, b = padded(math.log(low), math.log(high), share)
        return math.exp(a), math.exp(b)
    margin = share * (high - low) or max(abs(high) * 0.1, 1e-6)
    return low - margin, high + margin
