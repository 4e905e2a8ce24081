"""How many samples of an answer's prompt say what the answer says, where a policy's decision hangs on that.

Certainty and consistency together decide (PCC: Probabilistic Certainty and Consistency, arXiv 2601.02574): what a model is sure
of, and says again, is given; what it is unsure of, or says differently each time, is looked up. Samples cost generations, so
they are drawn only where some number of them would make another rule decide than another number.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from guardrail.scoring.baselines.equivalence_spec import equivalence_named
from guardrail.scoring.baselines.samples import SampleSource
from guardrail.scoring.baselines.self_consistency import SelfConsistency
from guardrail.types import Consistency, Score, Trace

if TYPE_CHECKING:
    from guardrail.model.local import LocalModel
    from guardrail.policy import Policy
    from guardrail.policy.sampling import Sampling
    from guardrail.scoring.baselines.equivalence import Equivalence
    from guardrail.scoring.protocol import Scorer

ScoreAll = Callable[[Sequence[Trace], "Scorer"], list[Score]]
"""Scores answers by a scorer; unscored, or raised, where that fails, as a policy says."""


@dataclass(frozen=True, slots=True)
class Samples:
    """Of answers of one model, and when one says what the answer says."""

    model: LocalModel
    sampling: Sampling
    equivalence: Equivalence

    def agreeing(self, trace: Trace, limit: int, score: ScoreAll) -> Consistency:
        """Of an answer, or why that could not be measured. limit: the most tokens that a sample has."""
        n = self.sampling.samples
        scorer = SelfConsistency(
            self.model,
            source=SampleSource(self.model, max_new_tokens=limit, remembered=1),
            equivalence=self.equivalence,
            samples=n,
            temperature=self.sampling.temperature,
        )
        (found,) = score([trace], scorer)
        if found.number is None:
            return Consistency(n, None, f"{found.unscored}: {found.detail}")
        return Consistency(n, round((1.0 - found.number) * n))


def samples_of(model: LocalModel, policy: Policy) -> Samples | None:
    """What draws samples; None where no rule asks for them.

    Raises `ScoringError` for a model that compares answers and cannot be loaded.
    """
    if not policy.looks_at_consistency:
        return None
    return Samples(model, policy.sampling, equivalence_named(policy.sampling.equivalence))
