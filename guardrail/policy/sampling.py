"""How an answer's samples are drawn, and whether a policy needs them: where they can change nothing, nothing is drawn."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

from pydantic import BeforeValidator, Field

from guardrail.policy.bounds import Mapping, wrong

if TYPE_CHECKING:
    from guardrail.types import Decision

MAX_SAMPLES = 50
_EQUIVALENCE = re.compile(r"normalised|embedding|nli:\S.*")


def _equivalence(value: object) -> object:
    if isinstance(value, str) and not _EQUIVALENCE.fullmatch(value):
        raise wrong(f"is {value!r:.60}; the names are normalised, embedding and nli:MODEL")
    return value


class Sampling(Mapping):
    """samples: of the prompt, for `consistency`. temperature: that they are drawn at. equivalence: when two answers say the
    same, by the names of the scorers that sample.
    """

    samples: Annotated[int, Field(ge=1, le=MAX_SAMPLES)] = 5
    temperature: Annotated[float, Field(gt=0, le=2, allow_inf_nan=False)] = 0.7
    equivalence: Annotated[str, BeforeValidator(_equivalence)] = "embedding"

    def shares(self) -> tuple[float | None, ...]:
        """Every share of the samples that may turn out to agree, in [0, 1]; None is that of samples without a result."""
        return (None, *(k / self.samples for k in range(self.samples + 1)))

    def undecided(self, decide: Callable[..., Decision]) -> bool:
        """Whether the rule that decides depends on how many samples agree. decide: `Policy.decide` without `consistency`."""
        return len({decide(consistency=share).rule for share in self.shares()}) > 1
