"""The protocol of verifiers: what a Guard needs to compare claims with evidence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from guardrail.types import Claim, Evidence, Verification


class Verifier(Protocol):
    """Claims and passages -> what the passages say about each claim. The same input always gives the same answer."""

    @property
    def name(self) -> str:
        """Short, for logs and tables."""

    def verify(
        self, claims: Sequence[Claim], evidence: Sequence[Sequence[Evidence]], *, question: str
    ) -> list[Verification]:
        """One Verification a claim, in order; `evidence[i]` are the passages for `claims[i]`, best first, possibly none.

        question: what the answer replies to. Never raises for an odd claim or passage: what cannot be judged is "not found",
        and so is a claim without passages. Nothing is ever "supported" because a number was missing.
        """
