"""Where an axis has its ticks, and what stands there."""

from __future__ import annotations

import math
from collections.abc import Sequence

_STEPS = (1.0, 2.0, 5.0, 10.0)
_MANTISSAS = ((1.0,), (1.0, 3.0), (1.0, 2.0, 5.0), tuple(range(1, 10)))
_ENOUGH = 4  # ticks of powers of ten alone are the plainest, where there are so many
_NARROW = 8.0  # a log axis that spans less than this factor has ticks like any other axis


def nice_ticks(low: float, high: float, most: int = 6) -> tuple[float, ...]:
    """Multiples of 1, 2 or 5 times a power of ten in [low, high], ascending: as many as fit into `most`.

        nice_ticks(0, 1)       # 0, 0.2, 0.4, 0.6, 0.8, 1
        nice_ticks(3, 3)       # 3: a range without width has one tick

    A range with width has at least 2. Raises ValueError for a range that is not finite or runs backwards, and for most
    < 5, which steps of 1, 2 and 5 cannot promise.
    """
    if not (math.isfinite(low) and math.isfinite(high) and low <= high) or most < 5:
        raise ValueError(f"no ticks for [{low}, {high}] with at most {most}")
    if high - low <= 1e-12 * max(abs(low), abs(high)):
        return (low,)
    power = math.floor(math.log10((high - low) / most))
    for exponent in (power, power + 1, power + 2):
        for factor in _STEPS[:3]:
            ticks = _multiples(low, high, factor, exponent)
            if len(ticks) <= most:
                return ticks
    raise AssertionError("a step of the range itself gives at most two ticks")  # pragma: no cover


def log_ticks(low: float, high: float, most: int = 6) -> tuple[float, ...]:
    """Powers of ten in [low, high], both above 0; with 3, or 2 and 5, or all digits between where they are few; every second
    or third where they are many.

    A range of less than a factor 8 has `nice_ticks`. Raises ValueError as `nice_ticks` does, and for low <= 0.
    """
    if low <= 0:
        raise ValueError(f"a log axis begins above 0, not at {low}")
    if high < _NARROW * low:
        return nice_ticks(low, high, most)
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    found: tuple[float, ...] = ()
    for mantissas in _MANTISSAS:
        ticks = tuple(v for e in range(first, last + 1) for m in mantissas if low <= (v := float(f"{m:g}e{e}")) <= high)
        if 2 <= len(ticks) <= most:
            found = ticks
        if len(found) >= _ENOUGH:
            break
    if found:
        return found
    powers = [float(f"1e{e}") for e in range(first, last + 1) if low <= float(f"1e{e}") <= high]
    return tuple(powers[:: math.ceil(len(powers) / most)]) or nice_ticks(low, high, most)


def tick_labels(ticks: Sequence[float], unit: str = "") -> tuple[str, ...]:
    """What stands at each tick, as short as tells them apart: `0.2`, `1e-4`; unit "%": shares as `20 %`."""
    if unit == "%":
        return tuple(f"{text} %" for text in tick_labels([100 * t for t in ticks]))
    for digits in range(1, 16):
        texts = tuple(_short(t, digits) for t in ticks)
        if all(math.isclose(float(s), t, rel_tol=1e-9) for s, t in zip(texts, ticks, strict=True)):
            return texts
    return tuple(f"{t:g}" for t in ticks)


def _multiples(low: float, high: float, factor: float, exponent: int) -> tuple[float, ...]:
    """Multiples of factor x 10^exponent in [low, high], each the float nearest to its decimal."""
    step = factor * 10.0**exponent
    slack = 1e-9  # an end that is a multiple, but for rounding, is a tick
    first, last = math.ceil(low / step - slack), math.floor(high / step + slack)
    if last - first > 1000:  # far too many; how many does not matter
        return tuple(float(i) for i in range(1001))
    ticks = (float(f"{i * factor:g}e{exponent}") for i in range(first, last + 1))
    return tuple(min(max(t, low), high) for t in ticks)


def _short(value: float, digits: int) -> str:
    text = f"{value:.{digits}g}"
    if "e" not in text:
        return text
    mantissa, exponent = text.split("e")
    if -4 <= int(exponent) < 6:
        return f"{value:.{max(0, digits - 1 - int(exponent))}f}"
    return f"{mantissa}e{int(exponent)}"
