"""SemGrad: the gradient of the answer's likelihood with respect to the prompt's meaning (arXiv 2605.04638, eq. 4)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Self

from guardrail.model.local import LocalModel
from guardrail.model.recording import Keep
from guardrail.scoring.hybridgrad import HybridGradScorer
from guardrail.scoring.profile import Band, Reduction
from guardrail.scoring.protocol import RegisteredScorer
from guardrail.types import Score, Trace


class SemGrad(RegisteredScorer):
    """mean |dJ/dh^(l)| at the semantic token over the band of layers. Options as `HybridGradScorer` has them."""

    name = "semgrad"

    def __init__(
        self,
        model: LocalModel,
        *,
        semantic_token: int | None = None,
        reduction: Reduction = "mean",
        band: Band = "code",
    ) -> None:
        self._scorer = HybridGradScorer(model, semantic_token=semantic_token, reduction=reduction, band=band)

    @property
    def options(self) -> dict[str, Any]:
        return {key: self._scorer.options[key] for key in ("token", "token_source", "band", "reduction")}

    @classmethod
    def from_options(cls, options: Mapping[str, Any], model: LocalModel) -> Self:
        return cls(model, semantic_token=options["token"], reduction=options["reduction"], band=options["band"])

    @property
    def keep(self) -> Keep:
        return self._scorer.keep

    def score_traces(self, traces: Sequence[Trace]) -> list[Score]:
        scores = self._scorer.score_traces(traces)
        return [_told_as(self.name, score) for score in scores]


def _told_as(name: str, score: Score) -> Score:
    parts = dict(score.parts) if score.number is None else {"hybridgrad": score.number, **score.parts}
    return replace(score, name=name, number=score.semgrad, parts=parts)
