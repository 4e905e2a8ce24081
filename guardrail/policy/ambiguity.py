"""When a policy counts a question as ambiguous: by a threshold on a score of the question alone."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, Field

from guardrail.errors import ScoringError
from guardrail.policy.bounds import Mapping, wrong
from guardrail.scoring.registry import QUESTION_DEFAULT, check_names
from guardrail.types import Score

MAX_SAMPLES = 50


def _scorer(value: object) -> object:
    if isinstance(value, str):
        try:
            check_names([value])
        except ScoringError as error:
            raise wrong(str(error)) from None
    return value


class Ambiguity(Mapping):
    """above: of the scorer's number, in its own unit. scorer: one that is about the question alone. samples: what it draws."""

    above: Annotated[float, Field(allow_inf_nan=False)]
    scorer: Annotated[str, BeforeValidator(_scorer)] = QUESTION_DEFAULT
    samples: Annotated[int, Field(ge=2, le=MAX_SAMPLES)] = 5

    def decide(self, score: Score | None) -> tuple[bool, str]:
        """Whether the question is ambiguous, and why. One without a number is: it is asked about, and not answered."""
        if score is None or score.unscored is not None:
            why = "it was not measured" if score is None else f"unscored: {score.unscored}"
            return True, f"whether the question is ambiguous is not known ({why})"
        is_ = score.value > self.above
        return (
            is_,
            f"the question is {'' if is_ else 'not '}ambiguous ({self.scorer} {score.value:.2f}, bound {self.above:g})",
        )
