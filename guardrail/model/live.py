"""Which positions of a suffix a backward pass goes through. Knows nothing about layers."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Live:
    """The first `rows` positions of every row can have a gradient, all where None; set anew before each backward pass.

    In a causal model nothing that comes after a claim acts on it, so that of a gradient of a claim in the middle of an answer
    the rest is zero, and products with zero need not be made.
    """

    rows: int | None = None

    def of(self, positions: int) -> int:
        return positions if self.rows is None else min(self.rows, positions)
