"""What shares a model's passes among callers, whichever loop runs them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, Protocol

from guardrail.errors import UnsupportedModelError
from guardrail.model.continuous.micro_batches import MicroBatches
from guardrail.model.recording import Keep
from guardrail.model.run import Decoding, PromptBatch, Response

Driver = Literal["guardrail", "transformers"]
"""Whose loop: `batching.ContinuousBatching`, or transformers' own in `paged.PagedBatching`."""

OnTiming = Callable[[Literal["wait", "generate"], float], None]
"""Told how many seconds an answer waited for its first pass, and how many it was generated for; from the loop's thread."""


class Sharing(Protocol):
    """One loop that answers many callers of one model; `LocalModel.shared` opens it.

    Attributes:
        max_rows: How many answers run at once; the others wait.
        scoring: Joins the scoring of answers that are done at about the same time.
    """

    max_rows: int
    scoring: MicroBatches

    @property
    def merges(self) -> bool:
        """Whether this model's answers can share passes, proved on a few tokens. Where not, callers take turns."""

    @property
    def waiting(self) -> int:
        """How many answers have not begun."""

    @property
    def running(self) -> int:
        """How many answers are generated right now."""

    @property
    def alive(self) -> bool:
        """Whether the loop runs."""

    def takes(self, prompts: Sequence[Sequence[int]], decoding: Decoding, keep: Keep | None) -> bool:
        """Whether a call is for the loop. prompts: their ids. keep: what scoring wants kept."""

    def drive(self, batch: PromptBatch) -> list[Response]:
        """Answer one prompt in the loop; a `generate.Drive`. Raises what its own steps raise, and `SharedPassError`."""

    def close(self, *, drain: bool = True) -> None:
        """Take nothing more, and end once what runs and waits is done; without `drain`, those callers get a `ModelError`."""


def check_elsewhere(name: str, driver: str) -> None:
    """Raise `UnsupportedModelError` for a driver that a model behind an endpoint would need a loop for."""
    if driver != "guardrail":
        raise UnsupportedModelError(
            f"{name} is behind an endpoint, which shares passes as it will; driver={driver!r:.40} needs a model in memory, so "
            "leave it out"
        )
