"""The protocol of claim extractors: what a Guard needs to take an answer apart."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from guardrail.types import Claims


class ClaimExtractor(Protocol):
    """Answer -> Claims. The same answer always gives the same claims."""

    @property
    def name(self) -> str:
        """What a calibrator of claims records; one fitted on other claims is refused."""

    @property
    def options(self) -> Mapping[str, Any]:
        """Everything that changes where claims begin and end, JSON-ready; a calibrator records it too."""

    def extract(self, answer: str, *, question: str = "") -> Claims:
        """The claims of an answer, and what of it claims nothing. question: what it answers, where that is known."""
