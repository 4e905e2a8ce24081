"""Which positions of a suffix a backward pass goes through."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class LiveRows:
    """How many positions from the first on can have a gradient, in each of the backward passes that run together.

    All where `ends` is empty; set anew before the passes. In a causal model nothing that comes after a claim acts on it: of a
    gradient of a claim in the middle of an answer the rest is zero, and products with zero need not be made.
    """

    ends: tuple[int, ...] = ()

    def of(self, positions: int) -> int:
        """The furthest of them, at most `positions`."""
        return min(max(self.ends, default=positions), positions)

    def each(self, passes: int, positions: int) -> tuple[int, ...]:
        """The end of each pass; the furthest end for all if their number is not that of `ends`."""
        return self.ends if len(self.ends) == passes else (self.of(positions),) * passes
