"""The weights that make one number of the features of a pass: what a calibrator records of the stacked scorer.

Non-negative weights on quantiles: no feature can make an answer look surer by being higher, and no value, however far off,
counts for more than a bounded amount. Knows nothing about how the weights were found.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cached_property
from itertools import pairwise
from typing import Any, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from guardrail.errors import ScoringError
from guardrail.scoring.profile import quantile_of
from guardrail.scoring.stacked.evidence import PREFIX as EVIDENCE
from guardrail.scoring.stacked.features import PROBE, SO_FAR, exists, prompt_tokens, scorers_in
from guardrail.scoring.stacked.thinking import PREFIX as THINKING
from guardrail.scoring.states.model import StateProbe

MEDIAN = 0.5
"""The place of a feature that an answer has not, since nothing was thought: neither sure nor unsure."""


class StackedFeature(BaseModel):
    """One feature: its weight, and its quantiles among the calibration data, from which its place in [0, 1] is read."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    weight: float = Field(gt=0, allow_inf_nan=False)
    quantiles: tuple[float, ...] = Field(min_length=2)

    @model_validator(mode="after")
    def _can_be_read(self) -> Self:
        if not exists(self.name):
            raise ValueError(f"there is no feature {self.name!r}")
        if any(not math.isfinite(x) for x in self.quantiles) or any(a > b for a, b in pairwise(self.quantiles)):
            raise ValueError(f"the quantiles of {self.name} are not finite and ascending")
        return self

    def contribution(self, value: float | None) -> float:
        """What a value adds to the number, nats: the weight times its quantile; where nothing was thought, its median."""
        return self.weight * (MEDIAN if value is None else quantile_of(value, self.quantiles))


class StackedModel(BaseModel):
    """Logistic regression: number = intercept + sum of weight x quantile, the log-odds of being wrong; higher = more uncertain.

    common_words: those that the model uses all the time, casefolded and sorted; they are no new words. scorers: the options of
    the other scorers that it weighs, by name. probe: the one whose number is weighed as "probe"; None where none is.

        model = StackedModel(intercept=-1, common_words=("is", "the"), features=(
            StackedFeature(name="new_nll", weight=2, quantiles=(0.0, 5.0, 10.0)),))
        model.number({"new_nll": 5.0})         # 0.0, since 5 is the median: -1 + 2 * 0.5
        model.contributions({"new_nll": 5.0})  # {"new_nll": 1.0}
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    intercept: float = Field(allow_inf_nan=False)
    common_words: tuple[str, ...]
    features: tuple[StackedFeature, ...]
    scorers: dict[str, dict[str, JsonValue]] = {}
    probe: StateProbe | None = None

    @model_validator(mode="after")
    def _names_once(self) -> Self:
        names = [feature.name for feature in self.features]
        if len(set(names)) < len(names):
            raise ValueError(f"a feature stands twice in {names}")
        if missing := [name for name in scorers_in(names) if name not in self.scorers]:
            raise ValueError(
                f"the scorer {missing[0]!r} is weighed, and its options are not among {list(self.scorers)}"
            )
        if (self.probe is None) == (PROBE in names):
            raise ValueError(f"a probe and the feature {PROBE!r} belong together; the features are {names}")
        return self

    @model_serializer(mode="wrap")
    def _as_before(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without keys that older files do not have, so that their digest, which proofs hold, stays what it was."""
        out: dict[str, Any] = write(self)
        for key in ("scorers", "probe"):
            if not out[key]:
                del out[key]
        return out

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> Self:
        """Raises `ValueError` for options that are no stacked model."""
        try:
            return cls.model_validate(options)
        except ValueError as error:
            raise ValueError(f"they are no stacked model: {' '.join(str(error).split())[:200]}") from error

    @cached_property
    def common(self) -> frozenset[str]:
        return frozenset(self.common_words)

    @property
    def prompt_tokens(self) -> list[int]:
        """The prompt tokens whose SemGrad is read, ascending; empty where none is."""
        return prompt_tokens([feature.name for feature in self.features])

    @property
    def of_claims(self) -> bool:
        """Whether it reads the answer so far, which claims alone have."""
        return any(feature.name.startswith(SO_FAR) for feature in self.features)

    @property
    def of_evidence(self) -> bool:
        """Whether it reads what passages tell, which answers with evidence alone have."""
        return any(feature.name.startswith(EVIDENCE) for feature in self.features)

    @property
    def of_thoughts(self) -> bool:
        """Whether it reads what was measured while the model thought."""
        return any(feature.name.startswith(THINKING) for feature in self.features)

    def contributions(self, values: Mapping[str, float]) -> dict[str, float]:
        """What each feature adds, by name. values: from `features`. Raises `ScoringError` where one is missing, unless it is
        of a thought."""
        if missing := [f.name for f in self.features if f.name not in values and not f.name.startswith(THINKING)]:
            raise ScoringError(f"the stacked model reads {missing[0]!r}, which this pass does not have")
        return {f.name: f.contribution(values.get(f.name)) for f in self.features}

    def number(self, values: Mapping[str, float]) -> float:
        """The log-odds of being wrong; NaN where a value that is read is not finite.

        Raises `ScoringError` as `contributions`.
        """
        if not all(math.isfinite(values.get(f.name, 0.0)) for f in self.features):
            return math.nan
        return self.intercept + sum(self.contributions(values).values())
