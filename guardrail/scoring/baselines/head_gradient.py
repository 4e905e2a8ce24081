"""What ParaGrad and ExGrad share: the LM head's gradient, for which next to nothing runs backward."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

from guardrail.model.local import LocalModel
from guardrail.model.recording import Keep
from guardrail.scoring.gradient_pass import GradientPass, too_big
from guardrail.scoring.gradients import Readout
from guardrail.scoring.profile import Reduction
from guardrail.scoring.protocol import RegisteredScorer
from guardrail.types import Score, Trace

_OFFSETS = [-1]  # the reading needs a token; the prompt's last is the cheapest


class HeadGradient(RegisteredScorer, ABC):
    """A scorer by the mean of |dJ/dW_head|. reduction: J is the mean (the default) or the sum over the response tokens."""

    exgrad: ClassVar[bool] = False

    def __init__(self, model: LocalModel, *, reduction: Reduction = "mean") -> None:
        self._pass = GradientPass(model, through_attention=False)
        self._top = len(model.anatomy.layers) - 1
        self.reduction = reduction

    @property
    def options(self) -> dict[str, Any]:
        return {"reduction": self.reduction}

    @property
    def keep(self) -> Keep:
        return Keep(self._top, -1)

    @abstractmethod
    def number(self, readout: Readout) -> float:
        """With J as the mean."""

    def score_traces(self, traces: Sequence[Trace]) -> list[Score]:
        rows = self._pass.rows_of(traces)
        found = [self._pass.unscorable(row, trace, _OFFSETS) for row, trace in zip(rows, traces, strict=True)]
        scores = [None if score is None else replace(score, name=self.name) for score in found]
        todo = [i for i, score in enumerate(scores) if score is None]
        for chunk in self._pass.groups([rows[i] for i in todo]):
            group = [rows[todo[j]] for j in chunk]
            readouts = self._pass.read_what_fits(group, _OFFSETS, self._top, exgrad=self.exgrad)
            for i, readout in zip((todo[j] for j in chunk), readouts, strict=True):
                length = len(rows[i].response_ids)
                if readout is None:
                    scores[i] = too_big(rows[i], self.name)
                    continue
                number = self.number(readout) * (length if self.reduction == "sum" else 1)
                scores[i] = score_of(self.name, number, readout)
        return [score for score in scores if score is not None]


def score_of(name: str, number: float, readout: Readout) -> Score:
    """A scorer's number with what the same pass tells beside it, J the mean; unscored where these are no numbers."""
    length = len(readout.log_probs)
    if fault := readout.fault():
        return Score.none("not_finite", fault, length=length, name=name)
    entropy, nll = readout.entropies.double().mean().item(), -readout.log_probs.double().sum().item()
    return Score.of(name, number, length=length, paragrad=readout.paragrad, entropy=entropy, nll=nll)
